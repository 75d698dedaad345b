package loader

import (
	"fmt"
	"slices"
	"strings"
)

// tokenizerOptions are what other files change about tokenizer.json, and what
// they say that it does not.
type tokenizerOptions struct {
	lowerCase bool         // do_lower_case of the Transformer module
	bert      *bertOptions // nil: the tokenizer's class takes the file as it is
	bare      bool         // no special tokens
	ownLimit  bool         // the file's own truncation counts
	special   []string     // tokens of the vocabulary to recognise in texts

	fromLeft  bool     // truncation drops the beginning
	untyped   bool     // the model gets no type ids
	expansion []string // tokens to expand queries with: the first that there is
}

// bertOptions are what tokenizer_config.json says for a BERT tokenizer class;
// transformers lets them win over the normalizer of tokenizer.json.
type bertOptions struct {
	lowerCase, chineseChars bool
	stripAccents            string // true, false or null, which means as lowerCase
}

// bertTokenizers are the classes (less "Tokenizer" or "TokenizerFast") and model
// types whose constructor sets the normalizer from tokenizer_config.json.
var (
	bertTokenizers = []string{"Bert", "ConvBert", "DistilBert", "Electra", "Funnel", "LayoutLM", "Lxmert", "MobileBert", "MPNet", "SqueezeBert"}
	bertModelTypes = []string{"bert", "convbert", "distilbert", "electra", "funnel", "layoutlm", "lxmert", "mobilebert", "mpnet", "squeezebert"}
)

// typedTokenizers are the classes and model types whose model_input_names have
// token_type_ids in transformers 5; the models of all others get none.
var (
	typedTokenizers = []string{"Bert", "ConvBert", "Deberta", "DebertaV2", "Electra", "FNet", "LayoutLM", "Lxmert", "MobileBert", "SqueezeBert"}
	typedModelTypes = []string{"bert", "convbert", "deberta", "deberta-v2", "electra", "fnet", "layoutlm", "lxmert", "mobilebert", "nomic_bert", "squeezebert"}
)

func readTokenizerOptions(m *Model) (tokenizerOptions, error) {
	f := m.tokenizerConfig.Fields()
	class := f.StringOr("tokenizer_class", "")
	opts := tokenizerOptions{lowerCase: m.LowerCase, bare: m.bare, ownLimit: m.ownLimit, fromLeft: f.StringOr("truncation_side", "right", "left", "right") == "left"}
	bert := &bertOptions{
		lowerCase:    f.BoolOr("do_lower_case", true),
		chineseChars: f.BoolOr("tokenize_chinese_chars", true),
		stripAccents: "null",
	}
	if f.Has("strip_accents") {
		bert.stripAccents = fmt.Sprint(f.Bool("strip_accents"))
	}
	name := strings.TrimSuffix(strings.TrimSuffix(class, "Fast"), "Tokenizer")
	is := func(classes, types []string) bool {
		return slices.Contains(classes, name) || class == "" && slices.Contains(types, m.Config.ModelType())
	}
	if is(bertTokenizers, bertModelTypes) {
		opts.bert = bert
	}
	opts.untyped = !is(typedTokenizers, typedModelTypes)
	if f.Has("model_input_names") {
		names, err := m.tokenizerConfig.Strings("model_input_names")
		f.Fail(err)
		opts.untyped = !slices.Contains(names, "token_type_ids")
	}
	if m.MultiVector == nil {
		return opts, f.Err()
	}
	for _, key := range []string{"mask_token", "eos_token"} {
		if token := tokenText(m.tokenizerConfig, f, key); token != "" {
			opts.expansion = append(opts.expansion, token)
		}
	}
	if len(opts.expansion) == 0 {
		opts.expansion = []string{"[MASK]", "<mask>"} // what the classes have by default
	}
	return opts, f.Err()
}

// tokenText reads a token that is a string or an object with its content.
func tokenText(c *Config, f *Fields, key string) string {
	if token, isObject := c.obj.get(key).(*jsonObject); isObject {
		content, err := (&Config{file: c.file, path: c.path + key + ".", obj: token}).String("content")
		f.Fail(err)
		return content
	}
	return f.StringOr(key, "")
}
