package server

import (
	"unsafe"

	"github.com/vkbert/vkbert"
)

// TEI's routes for the tokenizer alone.

type teiToken struct {
	ID      int32  `json:"id"`
	Text    string `json:"text"`
	Special bool   `json:"special"`
	Start   *int   `json:"start"`
	Stop    *int   `json:"stop"`
}

func (c *call) teiTokenize() error {
	var q struct {
		Inputs  texts  `json:"inputs"`
		Special *bool  `json:"add_special_tokens"`
		Prompt  string `json:"prompt_name"`
		Model   string `json:"model"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	if !q.Inputs.given {
		return failf(invalid, "inputs", "`inputs`: want %s", textForms)
	}
	if len(q.Inputs.list) == 0 {
		return failf(empty, "inputs", "`inputs` cannot be empty")
	}
	u, err := c.use(q.Model)
	if err != nil {
		return err
	}
	defer u.finish()
	prompt := ""
	if q.Prompt != "" {
		var ok bool
		if prompt, ok = u.Info().Prompts[q.Prompt]; !ok {
			return failf(invalid, "prompt_name", "default prompt name %.100q not found in the model's prompts", q.Prompt)
		}
	}
	located := make([][]vkbert.LocatedToken, len(q.Inputs.list)) // all of them before the first is sent, so that too many can be told by a status
	for i, text := range q.Inputs.list {
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if located[i], err = u.Locate(c.ctx, prompt+text, q.Special == nil || *q.Special); err != nil {
			return err
		}
		c.inputs++
		if err := c.count(len(located[i])); err != nil {
			return err
		}
		if err := c.hold(int64(len(located[i])) * int64(unsafe.Sizeof(vkbert.LocatedToken{}))); err != nil {
			return err
		}
	}
	o := c.output().raw("[")
	for i, text := range q.Inputs.list {
		if i > 0 {
			o.raw(",")
		}
		o.raw("[")
		points := []rune(prompt + text)
		for j := range located[i] {
			t := &located[i][j]
			one := teiToken{ID: t.ID, Text: t.Token, Special: t.Special}
			if !t.Special {
				one.Text, one.Start, one.Stop = string(points[t.Start:t.Stop]), &t.Start, &t.Stop
			}
			if j > 0 {
				o.raw(",")
			}
			o.value(one)
		}
		o.raw("]")
	}
	return o.raw("]").end()
}

func (c *call) teiDecode() error {
	var q struct {
		IDs   idLists `json:"ids"`
		Skip  *bool   `json:"skip_special_tokens"`
		Model string  `json:"model"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	switch {
	case !q.IDs.given:
		return failf(invalid, "ids", "`ids`: want %s", idForms)
	case q.IDs.len() == 0:
		return failf(empty, "ids", "`ids` cannot be empty")
	}
	for _, ids := range q.IDs.ids {
		if err := c.count(len(ids)); err != nil {
			return err
		}
	}
	u, err := c.use(q.Model)
	if err != nil {
		return err
	}
	defer u.finish()
	out := make([]string, len(q.IDs.ids))
	for i, ids := range q.IDs.ids {
		if out[i], err = u.Decode(ids, q.Skip == nil || *q.Skip); err != nil {
			return err
		}
		if err := c.hold(int64(len(out[i]))); err != nil {
			return err
		}
	}
	return c.reply(out)
}
