package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
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
		tokenize, count := prompt.tokenize(m), 0
		out := bufio.NewWriter(cmd.OutOrStdout())
		chunks := t.chunks(cmd.Context())
		for {
			var c chunk
			ok := false
			select {
			case c, ok = <-chunks:
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			}
			if !ok {
				break
			}
			if c.err != nil {
				return errors.Join(out.Flush(), c.err)
			}
			for _, text := range c.texts {
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				tokens, err := tokenize(text)
				if err != nil {
					return errors.Join(out.Flush(), fmt.Errorf("text %d: %w", count, err))
				}
				if err := printJSON(out, tokens, false); err != nil {
					return err
				}
				count++
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if count == 0 {
			return fmt.Errorf("no texts in %s", t.name)
		}
		return nil
	})
	model.addModel(cmd)
	model.addTruncation(cmd)
	prompt.add(cmd)
	input.add(cmd)
	return cmd
}
