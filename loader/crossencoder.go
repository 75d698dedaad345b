package loader

import (
	"slices"
	"strconv"
	"strings"
)

const (
	classifierSuffix = "ForSequenceClassification"
	maxLabels        = 1 << 16
)

// CrossEncoder is what a model that scores pairs of texts says about its scores.
type CrossEncoder struct {
	Labels     int        // scores a pair
	Names      []string   // of the labels, in order; nil where no file names them
	Activation Activation // of the scores: what the reference's predict applies
}

// scoreActivations are what predict may apply. GELU and SiLU would be none of a
// score.
const scoreActivations = "Identity, ReLU, Sigmoid, Tanh"

// readCrossEncoder reads config.json's labels, and the activation from the first
// of config_sentence_transformers.json (since 5.4), config.json's
// sentence_transformers (4) and its sbert_ce_default_activation_function.
func readCrossEncoder(config, sentence *Config) (*CrossEncoder, error) {
	e := &CrossEncoder{}
	var err error
	if e.Labels, e.Names, err = readLabels(config); err != nil {
		return nil, err
	}
	e.Activation = Identity
	if e.Labels == 1 {
		e.Activation = Sigmoid
	}
	section := &Config{file: config.file, obj: &jsonObject{}}
	if config.Has("sentence_transformers") {
		if section, err = config.Object("sentence_transformers"); err != nil {
			return nil, err
		}
	}
	for _, at := range []struct {
		c   *Config
		key string
	}{{sentence, "activation_fn"}, {section, "activation_fn"}, {config, "sbert_ce_default_activation_function"}} {
		if at.c.Has(at.key) {
			class, err := at.c.String(at.key)
			if err != nil {
				return nil, err
			}
			if !strings.HasPrefix(class, "torch.") { // code of the model's own: the reference, too, leaves it out
				continue
			}
			e.Activation, err = activation(at.c, at.key, class, scoreActivations)
			return e, err
		}
	}
	return e, nil
}

// readLabels returns the number of labels and their names. transformers takes the
// number from id2label where that is there, and 2 where nothing says.
func readLabels(config *Config) (int, []string, error) {
	if config.Has("id2label") {
		names, err := config.Object("id2label")
		if err != nil {
			return 0, nil, err
		}
		labels := make([]string, len(names.Keys()))
		if len(labels) == 0 || len(labels) > maxLabels {
			return 0, nil, config.Errorf("id2label", "want 1 to %d labels, got %d", maxLabels, len(labels))
		}
		numbered := make(map[string]int)
		for i := range labels {
			numbered[strconv.Itoa(i)] = i
		}
		for _, key := range names.Keys() {
			i, ok := numbered[key]
			if !ok {
				return 0, nil, names.Errorf(key, "want the keys 0 to %d", len(labels)-1)
			}
			if labels[i], err = names.String(key); err != nil {
				return 0, nil, err
			}
		}
		return len(labels), labels, nil
	}
	architectures, err := config.Architectures()
	if err != nil {
		return 0, nil, err
	}
	missing := 1
	if slices.ContainsFunc(architectures, func(a string) bool { return strings.HasSuffix(a, classifierSuffix) }) {
		missing = 2
	}
	n, err := config.IntOr("num_labels", missing, 1, maxLabels)
	return n, nil, err
}
