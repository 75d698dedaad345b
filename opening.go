package vkbert

import (
	"context"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
)

// openParts opens the tokenizer of a model beside its encoder: each keeps one core busy for about as long as the other. Where one fails, the other is
// closed; where both do, the error is the tokenizer's, which does not depend on the device.
func openParts(ctx context.Context, files *loader.Model, settings bert.Options) (*loader.Tokenizer, *bert.Encoder, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tokenizer *loader.Tokenizer
	var tokenizerErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		if tokenizer, tokenizerErr = loader.OpenTokenizer(files); tokenizerErr != nil {
			cancel()
		}
	}()
	encoder, err := bert.Open(ctx, files, settings)
	<-done
	switch {
	case tokenizerErr != nil:
		if err == nil {
			encoder.Close()
		}
		return nil, nil, tokenizerErr
	case err != nil:
		tokenizer.Close()
		return nil, nil, err
	}
	return tokenizer, encoder, nil
}
