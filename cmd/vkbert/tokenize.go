package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

func tokenizeCommand() *cobra.Command {
	var (
		model  modelFlags
		prompt promptFlags
		input  inputFlags
	)
	cmd := &cobra.Command{
		Use:   "tokenize -m MODEL [TEXT...]",
		Short: "Show the tokens of texts as the model sees them",
		Long: `Show the tokens of texts as the model sees them, {"ids":[…],"tokens":[…]} a line: with the prompt and the special tokens, and cut off at
the model's limit. The texts are the arguments, or the lines of --input or of standard input.`,
		Example: `  vkbert tokenize -m sentence-transformers/all-MiniLM-L6-v2 "unaffable"`,
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) (err error) {
		t, err := input.open(cmd, args)
		if err != nil {
			return err
		}
		defer t.Close()
		model.device = "cpu" // nothing is computed
		m, err := model.openTexts(cmd)
		if err != nil {
			return err
		}
		defer closeModel(cmd.Context(), m, &err)
		return tokenizeTo(cmd, t, prompt.tokenize(m))
	})
	model.addModel(cmd)
	model.addTruncation(cmd)
	prompt.add(cmd)
	input.add(cmd)
	return cmd
}

// tokenizeTo prints the tokens of each text.
func tokenizeTo(cmd *cobra.Command, t *texts, tokenize func(string) (vkbert.Tokens, error)) error {
	ctx, count := cmd.Context(), 0
	out := bufio.NewWriter(cmd.OutOrStdout())
	each := func(text string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		tokens, err := tokenize(text)
		if err != nil {
			return fmt.Errorf("text %d: %w", count, err)
		}
		count++
		return printJSON(out, tokens, false)
	}
	for chunks := t.chunks(ctx); ; {
		select {
		case c, ok := <-chunks:
			if !ok && count == 0 && ctx.Err() == nil {
				return fmt.Errorf("no texts in %s", t.name)
			}
			if !ok {
				return ctx.Err()
			}
			err := c.err
			for i := 0; i < len(c.texts) && err == nil; i++ {
				err = each(c.texts[i])
			}
			if e := out.Flush(); err == nil {
				err = e
			}
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
