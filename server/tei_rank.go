package server

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/vkbert/vkbert"
)

// TEI's routes for rerankers and classifiers.

type teiRerankRequest struct {
	Query  *string  `json:"query"`
	Texts  textList `json:"texts"`
	Model  string   `json:"model"`
	Raw    bool     `json:"raw_scores"`
	Return bool     `json:"return_text"`
	teiTruncation
}

type teiRank struct {
	Index int     `json:"index"`
	Text  *string `json:"text,omitempty"`
	Score float32 `json:"score"`
}

func (c *call) teiRerank(q teiRerankRequest) error {
	if q.Query == nil {
		return failf(invalid, "query", "`query`: want a string")
	}
	if len(q.Texts) == 0 {
		return failf(empty, "texts", "`texts` cannot be empty")
	}
	cut, err := q.cut(c)
	if err != nil {
		return err
	}
	u, err := c.use(q.Model, rerankFirst...)
	if err != nil {
		return err
	}
	defer u.finish()
	if err := u.ranker(); err != nil {
		return err
	}
	scores, err := u.pairs(queryPairs(*q.Query, q.Texts), cut, true)
	if err != nil {
		return err
	}
	ranks := make([]teiRank, len(scores))
	for i, s := range scores {
		ranks[i] = teiRank{Index: i, Score: s[0]}
		if !q.Raw {
			ranks[i].Score = sigmoid(s[0])
		}
		if q.Return {
			ranks[i].Text = &q.Texts[i]
		}
	}
	slices.SortStableFunc(ranks, func(a, b teiRank) int { return cmp.Compare(b.Score, a.Score) })
	c.teiHeaders(characters(q.Texts) + len(q.Texts)*utf8.RuneCountInString(*q.Query))
	return c.reply(ranks)
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// softmax is taken in place.
func softmax(row []float32) {
	greatest := slices.Max(row)
	sum := 0.0
	for _, x := range row {
		sum += math.Exp(float64(x - greatest))
	}
	for i, x := range row {
		row[i] = float32(math.Exp(float64(x-greatest)) / sum)
	}
}

// predictInputs is a text, a pair of texts, or a list of lists of one or two.
type predictInputs struct {
	list   [][]string
	single bool
}

// UnmarshalJSON takes the three forms.
func (p *predictInputs) UnmarshalJSON(data []byte) error {
	if err := noNull(data); err != nil {
		return err
	}
	var t texts
	if err := t.UnmarshalJSON(data); err == nil && t.given {
		p.list, p.single = [][]string{t.list}, true
		return p.check()
	}
	if data[0] != '[' || json.Unmarshal(data, &p.list) != nil {
		return failf(invalid, "inputs", "%s", predictForms)
	}
	return p.check()
}

const predictForms = "`inputs`: want a string, a pair of strings [string, string] or a batch of mixed strings and pairs [[string], [string, string], ...]"

func (p *predictInputs) check() error {
	for _, one := range p.list {
		if len(one) != 1 && len(one) != 2 {
			return failf(invalid, "inputs", "%s", predictForms)
		}
	}
	return nil
}

type teiPredictRequest struct {
	Inputs predictInputs `json:"inputs"`
	Model  string        `json:"model"`
	Raw    bool          `json:"raw_scores"`
	teiTruncation
}

type teiPrediction struct {
	Score float32 `json:"score"`
	Label string  `json:"label"`
}

func (c *call) teiPredict(q teiPredictRequest) error {
	if len(q.Inputs.list) == 0 {
		return failf(empty, "inputs", "`inputs` cannot be empty")
	}
	cut, err := q.cut(c)
	if err != nil {
		return err
	}
	u, err := c.use(q.Model, rerankFirst...)
	if err != nil {
		return err
	}
	defer u.finish()
	if u.reranker == nil {
		return failf(incapable, "model", "model %q is not a classifier model: it is a %s model", u.served.Name, kindNames[u.kind])
	}
	// Texts and pairs are tokenized differently, so each go together.
	var single []string
	var pairs []vkbert.Pair
	count := 0
	for _, one := range q.Inputs.list {
		count += characters(one)
		if len(one) == 1 {
			single = append(single, one[0])
		} else {
			pairs = append(pairs, vkbert.Pair{one[0], one[1]})
		}
	}
	var ofSingle, ofPairs [][]float32
	if len(single) > 0 {
		ofSingle, err = u.singles(single, cut, true)
	}
	if len(pairs) > 0 && err == nil {
		ofPairs, err = u.pairs(pairs, cut, true)
	}
	if err != nil {
		return err
	}
	labels := u.Info().Labels
	all := make([][]teiPrediction, len(q.Inputs.list))
	for i, one := range q.Inputs.list {
		var row []float32
		if len(one) == 1 {
			row, ofSingle = ofSingle[0], ofSingle[1:]
		} else {
			row, ofPairs = ofPairs[0], ofPairs[1:]
		}
		all[i] = predictions(row, labels, q.Raw)
	}
	c.teiHeaders(count)
	if q.Inputs.single {
		return c.reply(all[0])
	}
	return c.reply(all)
}

// predictions are labels with their scores, best first: after a sigmoid where there is one, else a softmax.
func predictions(row []float32, labels []string, raw bool) []teiPrediction {
	switch {
	case raw:
	case len(row) == 1:
		row[0] = sigmoid(row[0])
	default:
		softmax(row)
	}
	out := make([]teiPrediction, len(row))
	for i, score := range row {
		out[i] = teiPrediction{score, labelName(labels, i)}
	}
	slices.SortStableFunc(out, func(a, b teiPrediction) int { return cmp.Compare(b.Score, a.Score) })
	return out
}

// labelName is the configuration's name of a label, or transformers' own.
func labelName(labels []string, i int) string {
	if i < len(labels) {
		return labels[i]
	}
	return "LABEL_" + strconv.Itoa(i)
}
