package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/loader"
)

// ggufPooling are the values of pooling_type.
var ggufPooling = map[int]string{1: "mean", 2: "cls", 3: "lasttoken"}

// poolingBooleans are the keys of 1_Pooling/config.json.
var poolingBooleans = map[string]string{
	"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "lasttoken": "pooling_mode_lasttoken",
}

// pooling returns how the model pools.
func (m *ggufModel) pooling() (string, error) {
	supported := strings.Join(slices.Sorted(maps.Keys(poolingBooleans)), ", ")
	if mode := m.options.Pooling; mode != "" && poolingBooleans[mode] == "" {
		return "", fmt.Errorf("%w: pooling %q; supported: %s", loader.ErrUnsupported, mode, supported)
	}
	number := m.intOr("pooling_type", 0, 0, 1<<16)
	const rank = 4
	switch mode := ggufPooling[number]; {
	case number == rank:
		return "", fmt.Errorf("%w: key %q: %d: a reranker", loader.ErrUnsupported, m.key("pooling_type"), number)
	case mode == "" && number != 0:
		return "", fmt.Errorf("%w: key %q: %d; supported: %s", loader.ErrUnsupported, m.key("pooling_type"), number, supported)
	case m.options.Pooling == "" && mode == "":
		return "", fmt.Errorf("%w: key %q: the file does not say how the model pools: give the mode (%s), as the model's card says",
			loader.ErrUnsupported, m.key("pooling_type"), supported)
	case mode == "":
		return m.options.Pooling, nil
	case m.options.Pooling != "" && mode != m.options.Pooling:
		m.note("the file says that the model pools by %s: %s was asked for", mode, m.options.Pooling)
		return m.options.Pooling, nil
	default:
		return mode, nil
	}
}

// addModules adds the files of sentence-transformers: a pipeline of the
// transformer, pooling, the Dense modules that are there, and normalisation,
// which programs that run GGUF files do.
func (m *ggufModel) addModules(s *source, dense denseTensors) error {
	mode, err := m.pooling()
	if err != nil {
		return err
	}
	hidden := m.int("embedding_length", 1, maxWidth)
	type module struct {
		Index int    `json:"idx"`
		Name  string `json:"name"`
		Path  string `json:"path"`
		Type  string `json:"type"`
	}
	var modules []module
	add := func(kind, path string) string {
		if path != "" {
			path = fmt.Sprintf("%d_%s", len(modules), kind)
		}
		modules = append(modules, module{len(modules), fmt.Sprint(len(modules)), path, "sentence_transformers.models." + kind})
		return path
	}
	add("Transformer", "")
	pool := map[string]any{"word_embedding_dimension": hidden, "include_prompt": true}
	for name, key := range poolingBooleans {
		pool[key] = name == mode
	}
	if err := s.addJSON(add("Pooling", "1")+"/config.json", pool); err != nil {
		return err
	}
	for i, tensors := range dense {
		config, err := m.denseConfig(denseNames[i], tensors, hidden)
		if err != nil {
			return err
		}
		if config == nil {
			continue
		}
		path := add("Dense", "2")
		if err := s.addJSON(path+"/config.json", config); err != nil {
			return err
		}
		s.folders = append(s.folders, folder{path: path, tensors: tensors})
		hidden = tensors[0].Shape[0]
	}
	if m.arch == ggufGemma && hidden == m.int("embedding_length", 1, maxWidth) && len(dense[0])+len(dense[1]) == 0 {
		m.note("the file has no Dense modules, which EmbeddingGemma has: the vectors are those of the file, not the model's")
	}
	add("Normalize", "3")
	m.note("prompts and a limit of length below %d tokens are not in the file; vectors are normalised, as programs that run GGUF files do", m.int("context_length", 1, maxLength))
	if err := s.addJSON("modules.json", modules); err != nil {
		return err
	}
	if err := s.addJSON("config_sentence_transformers.json", map[string]any{"prompts": map[string]string{}, "default_prompt_name": nil, "similarity_fn_name": "cosine"}); err != nil {
		return err
	}
	return s.addJSON("sentence_bert_config.json", map[string]any{"max_seq_length": m.int("context_length", 1, maxLength), "do_lower_case": false})
}

// denseConfig returns the configuration of a Dense module, nil if there is none.
// Such modules have no activation and no bias in the models that have them.
func (m *ggufModel) denseConfig(name string, tensors []Tensor, in int) (map[string]any, error) {
	if len(tensors) == 0 {
		return nil, nil
	}
	if t := tensors[0]; len(tensors) != 1 || t.Name != "linear.weight" || len(t.Shape) != 2 || t.Shape[1] != in {
		return nil, fmt.Errorf("%w: tensor %s: want a matrix of rows of %d values and no bias, got %d tensors, the first of shape %v", loader.ErrUnsupported, name, in, len(tensors), t.Shape)
	}
	out := tensors[0].Shape[0]
	must(m, name+"_feat_in", int64(in))
	must(m, name+"_feat_out", int64(out))
	return map[string]any{"in_features": in, "out_features": out, "bias": false, "activation_function": "torch.nn.modules.linear.Identity"}, nil
}
