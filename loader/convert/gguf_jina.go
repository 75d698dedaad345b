package convert

import "strings"

// jinaGate is the gated projection: the gate comes first in
// jinaai/jina-bert-implementation, second in jinaai/jina-bert-v2-qk-post-norm.
func jinaGate(m *ggufModel, t ggufTensor, out Tensor) (Tensor, error) {
	if !m.jinaCode() {
		return m.fused(t, out, "ffn_gate", "ffn_up")
	}
	out.Name = strings.Replace(out.Name, "mlp.gated_layers", "mlp.up_gated_layer", 1)
	return m.fused(t, out, "ffn_up", "ffn_gate")
}

// jinaName is a tensor that has another name in jina-bert-v2-qk-post-norm.
func jinaName(name, code string) func(*ggufModel, ggufTensor, Tensor) (Tensor, error) {
	return func(m *ggufModel, _ ggufTensor, out Tensor) (Tensor, error) {
		if m.jinaCode() {
			out.Name = strings.Replace(out.Name, name, code, 1)
		}
		return out, nil
	}
}
