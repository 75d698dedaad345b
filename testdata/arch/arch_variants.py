"""Directories of the same kinds whose configurations differ from those of the other files in what released models differ in."""

import numpy as np
import torch
from safetensors.torch import save_file

from arch_decoders import _gemma3, _qwen2, _qwen3, _t5
from arch_kinds import _SMALL, _cross, _labels, _readable, _static_settings, _table
from arch_mutations import config, zero
from arch_spec import MADE_WITH, Directory, dense_layer, write_json
from arch_table import _eurobert, _gte, _jina_v3_5, _modernbert_5, bertlike_config, deberta_config, modernbert_config, robertalike_config
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer


def sparse(pooling: str, activation: str):
    """A sparse model as sentence-transformers 5.0 wrote it, with this pooling."""

    def write(spec, path):
        kinds = [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")]
        write_json(path / "modules.json", [{"idx": i, "name": str(i), "path": folder, "type": f"sentence_transformers.sparse_encoder.models.{kind}"} for i, (folder, kind) in enumerate(kinds)])
        write_json(path / "1_SpladePooling" / "config.json", {"pooling_strategy": pooling, "activation_function": activation, "word_embedding_dimension": None})
        settings = {"model_type": "SparseEncoder", "__version__": MADE_WITH["old"] | {"sentence_transformers": "5.0.0"}, "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "dot"}
        write_json(path / "config_sentence_transformers.json", settings)
        write_json(path / "sentence_bert_config.json", {"max_seq_length": spec.max_tokens, "do_lower_case": False})

    return write


def _sparse(note: str, tokenizer: str, seed: int, make_config, model: str, pooling: str, activation: str, **more) -> Directory:
    return Directory(note, tokenizer, make_config, seed=seed, kind="sparse", model=model, modules=sparse(pooling, activation), weights={"word_gain": 0.6, "vocabulary_bias": -6.0}, **more)


def colbert(spec, path) -> None:
    """GTE-ModernColBERT: no types, RoPE; queries filled up to 12 tokens at least."""
    transformer = Transformer(str(path), document_length=30, query_expansion={"strategy": "min", "attend": False, "length": 12}, model_kwargs={"dtype": torch.float32})
    dense = Dense(30, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
    dense.load_state_dict(dense_layer(30, 8, spec.seed, bias=False))
    MultiVectorEncoder(modules=[transformer, dense, Normalize(module_input_name="token_embeddings")], prompts={"query": "find: ", "document": "text: "}, device="cpu").save_pretrained(
        str(path), create_model_card=False)
    _readable(path)


def model2vec_f16(spec, path) -> None:
    """A file of model2vec in f16, a weight a token in f64, no mapping, and no Normalize."""
    spec.family.write(path, None)
    weights = torch.from_numpy(np.random.RandomState(spec.seed).uniform(0.2, 2.0, spec.family.size))
    save_file({"embeddings": _table(spec, 18).half(), "weights": weights}, path / "model.safetensors", metadata={"format": "pt"})
    write_json(path / "config.json", {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": False})
    _static_settings(path, [(".", "StaticEmbedding")])
    _readable(path)


_ALBERT = dict(hidden_size=24, embedding_size=16, num_attention_heads=3, intermediate_size=37, layer_norm_eps=1e-12, max_position_embeddings=40, type_vocab_size=2, num_hidden_groups=1,
               inner_group_num=2, hidden_act="gelu_new", pad_token_id=0)

VARIANTS = {
    "cross_albert": _cross("AlbertForSequenceClassification, one label; Unigram", "albert", lambda t: bertlike_config(t, "albert", "AlbertForSequenceClassification", **_ALBERT, **_labels(1)), {}, seed=91, pad_id=0),
    "cross_mpnet": _cross("MPNetForSequenceClassification, two labels; WordPiece with two separators between the texts", "mpnet", lambda t: bertlike_config(
        t, "mpnet", "MPNetForSequenceClassification", **_SMALL, layer_norm_eps=1e-5, max_position_embeddings=42, relative_attention_num_buckets=32, bos_token_id=0, eos_token_id=2, pad_token_id=1, **_labels(2)),
        {}, seed=92, max_tokens=40),
    "cross_camembert": _cross("CamembertForSequenceClassification, one label with a name; Unigram", "camembert", lambda t: robertalike_config(
        t, "camembert", "CamembertForSequenceClassification", **_SMALL, id2label={"0": "relevant"}, label2id={"relevant": 0}), {}, seed=93, max_tokens=40),
    "cross_modernbert_cls": _cross("ModernBertForSequenceClassification, first token, biases, tanh; files of transformers 5", "modernbert", lambda t: _modernbert_5(t) | {
        "architectures": ["ModernBertForSequenceClassification"], "classifier_pooling": "cls", "classifier_bias": True, "classifier_activation": "tanh", **_labels(3)}, {}, seed=94, pad_id=349),
    "cross_qwen3": _cross("Qwen3ForSequenceClassification: one label on the last token that is not the padding one; byte-level BPE", "qwen", lambda t: _qwen3(
        t, architectures=["Qwen3ForSequenceClassification"], pad_token_id=t.ids["<|endoftext|>"], max_position_embeddings=40, **_labels(1)), {}, seed=95, pad_id=346),
    "cross_eurobert": _cross("EuroBertForSequenceClassification, one label, the mean of all tokens' scores; byte-level BPE", "llama3", lambda t: {k: v for k, v in _eurobert(
        t, architectures=["EuroBertForSequenceClassification"], classifier_pooling="late", **_labels(1)).items() if k not in ("auto_map", "clf_pooling")}, {}, seed=96, pad_id=0),
    "cross_gte": _cross("GteForSequenceClassification, one label; Unigram", "xlm_roberta", lambda t: _gte(t) | {"architectures": ["GteForSequenceClassification"], **_labels(1)}, {}, seed=97, pad_id=1),
    "splade_roberta": _sparse("RobertaForMaskedLM, the sum of the tokens; byte-level BPE", "roberta", 101, lambda t: robertalike_config(t, "roberta", "RobertaForMaskedLM", **_SMALL), "RobertaForMaskedLM", "sum", "relu"),
    "splade_modernbert": _sparse("ModernBertForMaskedLM, log(1+log(1+relu)), the sum of the tokens; byte-level BPE", "modernbert", 102, lambda t: modernbert_config(t, architectures=["ModernBertForMaskedLM"]),
                                 "ModernBertForMaskedLM", "sum", "log1p_relu", pad_id=349, window=8),
    "splade_mpnet": _sparse("MPNetForMaskedLM; WordPiece", "mpnet", 105, lambda t: bertlike_config(
        t, "mpnet", "MPNetForMaskedLM", **_SMALL, layer_norm_eps=1e-5, max_position_embeddings=42, relative_attention_num_buckets=32, bos_token_id=0, eos_token_id=2, pad_token_id=1), "MPNetForMaskedLM", "max", "relu"),
    "colbert_modernbert": Directory("ColBERT on ModernBERT: RoPE, windows, no types; queries filled up to 12 tokens at least, no mask module; byte-level BPE", "modernbert", seed=111, pad_id=349, kind="multi",
                                    config=modernbert_config, limit_in="tokenizer", max_tokens=40, modules=colbert),
    "static_model2vec_f16": Directory("model2vec in f16, f64 weights for tokens, no mapping, no Normalize; byte-level BPE", "roberta", lambda t: {}, kind="static", seed=112, modules=model2vec_f16),
    "qwen3_windows": Directory("Qwen3 with biases, layer_types and windows, RoPE dynamic within its length; byte-level BPE", "qwen", seed=113, pad_id=346, window=8, pooling="mean", limit_in="tokenizer",
                               config=lambda t: {k: v for k, v in _qwen3(t, attention_bias=True, use_sliding_window=True, sliding_window=8, max_window_layers=1, num_key_value_heads=4,
                                                                        layer_types=["full_attention", "sliding_attention", "sliding_attention"]).items() if k not in ("rope_scaling", "rope_theta")}
                               | {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}}),
    "qwen2_full": Directory("Qwen2 without windows, names without prefix, rope_theta by default; byte-level BPE", "qwen", seed=114, pad_id=346, pooling="lasttoken",
                            config=lambda t: {k: v for k, v in _qwen2(t, use_sliding_window=False, sliding_window=4).items() if k != "rope_theta"}),
    "t5_silu": Directory("T5's encoder with gated-silu and few buckets; Unigram", "t5", seed=115, pad_id=0, config=lambda t: _t5(t, "gated-silu", relative_attention_num_buckets=16, relative_attention_max_distance=30),
                         model="T5EncoderModel", weights={"qk_gain": 1.25}),
    "deberta_conv5": Directory("DeBERTa-v2-xlarge: a convolution of 5 tokens with tanh, log buckets, own positions in the input; Unigram", "deberta_v2", seed=116, pad_id=0, eager=False, after=(),
                               centre="encoder.layer.2.output.LayerNorm.bias", names="deberta.{}".format,
                               config=lambda t: deberta_config(t, conv_kernel_size=5, attention_head_size=7, position_biased_input=True, conv_act="tanh")),
    "modernbert_every": Directory("ModernBERT with every second layer global, layer norms with biases, ReLU; byte-level BPE", "modernbert", seed=117, window=6, pad_id=349, limit_in="tokenizer",
                                  config=lambda t: modernbert_config(t, global_attn_every_n_layers=2, local_attention=6, norm_bias=True, hidden_activation="relu"), centre="final_norm.bias"),
    "gemma3_wide": Directory("Gemma 3, bidirectional, every layer local but the last, grouped heads; BPE", "gemma", seed=118, pad_id=0, window=6, limit_in="tokenizer", spelling="new", weights={"norm_offset": 1.0, "word_gain": 0.5},
                             config=lambda t: {k: v for k, v in _gemma3(t, sliding_window=6, num_attention_heads=6, num_key_value_heads=2).items()}),
    "bert_labse": Directory("LaBSE's keys of a pooler that no embedding uses; cls; WordPiece", "wordpiece", seed=119, pad_id=0, pooling="cls", config=lambda t: bertlike_config(
        t, "bert", "BertModel", **_SMALL, layer_norm_eps=1e-12, max_position_embeddings=40, type_vocab_size=2, pad_token_id=0, directionality="bidi", pooler_fc_size=24, pooler_num_attention_heads=3,
        pooler_num_fc_layers=3, pooler_size_per_head=8, pooler_type="first_token_transform"), mutations={"type row dropped": zero("token_type_embeddings"), "norm eps 1e-2": config(layer_norm_eps=1e-2)}),
}
