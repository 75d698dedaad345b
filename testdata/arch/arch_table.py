"""The directories of encoders: config.json as released models of each architecture spell it, and what to change to see that a mistake shows."""

import torch

from arch_mutations import alibi, config, halve_swap, swap, without, zero
from arch_spec import Directory
from arch_tokenizers import Tokenizer

# BERT's relatives -----------------------------------------------------------------------------------------------------

def bertlike_config(t: Tokenizer, model_type: str, architecture: str, **more) -> dict:
    return {
        "_name_or_path": "tiny", "architectures": [architecture], "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": False, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "initializer_range": 0.02, "model_type": model_type, "num_hidden_layers": 3, "position_embedding_type": "absolute",
        "torch_dtype": "float32", "transformers_version": "4.41.2", "use_cache": True, "vocab_size": t.size,
    } | more


def robertalike_config(t: Tokenizer, model_type: str, architecture: str, **more) -> dict:
    ids = {"bos_token_id": t.ids["<s>"], "eos_token_id": t.ids["</s>"], "pad_token_id": t.ids["<pad>"]}
    return bertlike_config(t, model_type, architecture, **ids, layer_norm_eps=1e-5, type_vocab_size=1, max_position_embeddings=42, **more)


def distilbert_config(t: Tokenizer, architecture: str = "DistilBertModel", **more) -> dict:
    return {
        "activation": "gelu", "architectures": [architecture], "attention_dropout": 0.1, "dim": 35, "dropout": 0.1, "hidden_dim": 51, "initializer_range": 0.02,
        "max_position_embeddings": 40, "model_type": "distilbert", "n_heads": 5, "n_layers": 3, "pad_token_id": 0, "qa_dropout": 0.1, "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False, "tie_weights_": True, "torch_dtype": "float32", "transformers_version": "4.41.2", "vocab_size": t.size,
    } | more


def deberta_config(t: Tokenizer, **more) -> dict:
    return {
        "architectures": ["DebertaV2Model"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 35,
        "initializer_range": 0.02, "intermediate_size": 46, "layer_norm_eps": 1e-7, "max_position_embeddings": 40, "max_relative_positions": -1,
        "model_type": "deberta-v2", "norm_rel_ebd": "layer_norm", "num_attention_heads": 5, "num_hidden_layers": 3, "pad_token_id": 0,
        "pos_att_type": "p2c|c2p", "position_biased_input": False, "position_buckets": 12, "relative_attention": True, "share_att_key": True,
        "torch_dtype": "float32", "transformers_version": "4.41.2", "type_vocab_size": 0, "vocab_size": t.size,
    } | more


BERT = {
    "roberta": Directory(
        "RoBERTa: positions from 2, one type row; byte-level BPE with RobertaProcessing", "roberta", seed=11,
        config=lambda t: robertalike_config(t, "roberta", "RobertaModel", hidden_size=35, num_attention_heads=5, intermediate_size=52),
        centre="encoder.layer.2.output.LayerNorm.bias",
        mutations={"position rows shifted by one": {"tensors": lambda s: s["embeddings.position_embeddings.weight"].copy_(s["embeddings.position_embeddings.weight"].roll(1, 0))},
                   "type row dropped": zero("token_type_embeddings"), "norm eps 1e-2": config(layer_norm_eps=1e-2)},
    ),
    "xlm_roberta": Directory(
        "XLM-RoBERTa: as RoBERTa, Unigram; names with roberta. prefix; first token", "xlm_roberta", seed=12, pooling="cls",
        config=lambda t: robertalike_config(t, "xlm-roberta", "XLMRobertaModel", hidden_size=33, num_attention_heads=3, intermediate_size=46, output_past=True),
        names="roberta.{}".format, centre="encoder.layer.2.output.LayerNorm.bias",
        mutations={"position rows shifted by two": {"tensors": lambda s: s["roberta.embeddings.position_embeddings.weight"].copy_(s["roberta.embeddings.position_embeddings.weight"].roll(2, 0))}},
    ),
    "camembert": Directory(
        "CamemBERT: as RoBERTa, Unigram with ids 5 and 6 for <s> and </s>", "camembert", seed=13, after=(),
        config=lambda t: robertalike_config(t, "camembert", "CamembertModel", hidden_size=28, num_attention_heads=4, intermediate_size=45),
        centre="encoder.layer.2.output.LayerNorm.bias", mutations={"type row dropped": zero("token_type_embeddings")},
    ),
    "distilbert": Directory(
        "DistilBERT: no type rows, its own names", "wordpiece", seed=14, pooling="cls", config=distilbert_config, pad_id=0, centre="transformer.layer.2.output_layer_norm.bias",
        names=lambda n: "distilbert." + n, after=(),
        mutations={"position rows dropped": zero("position_embeddings"), "GELU by tanh": config(activation="gelu_new")},
    ),
    "mpnet": Directory(
        "MPNet: relative-position bias shared by layers, positions from 2; 150 tokens, so that the last bucket is reached; WordPiece with RobertaProcessing", "mpnet", seed=15,
        config=lambda t: bertlike_config(
            t, "mpnet", "MPNetForMaskedLM", hidden_size=30, num_attention_heads=5, intermediate_size=46, layer_norm_eps=1e-5, max_position_embeddings=152,
            relative_attention_num_buckets=32, bos_token_id=0, eos_token_id=2, pad_token_id=1,
        ),
        max_tokens=150, centre="encoder.layer.2.output.LayerNorm.bias",
        mutations={"bias table dropped": zero("relative_attention_bias"),
                   "bias table's direction turned": {"tensors": lambda s: s["encoder.relative_attention_bias.weight"].copy_(torch.cat(s["encoder.relative_attention_bias.weight"].chunk(2)[::-1]))},
                   "buckets from 14 on merged": {"tensors": lambda s: s["encoder.relative_attention_bias.weight"][15].copy_(s["encoder.relative_attention_bias.weight"][14])},
                   "position rows dropped": zero("position_embeddings")},
    ),
    "albert": Directory(
        "ALBERT: embeddings of width 20 mapped to 30, 4 layers in 2 groups, GELU by tanh; Unigram that lower-cases", "albert", seed=16, pad_id=0,
        config=lambda t: bertlike_config(
            t, "albert", "AlbertModel", hidden_size=30, embedding_size=20, num_attention_heads=5, intermediate_size=46, layer_norm_eps=1e-12, max_position_embeddings=40,
            type_vocab_size=2, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=1, hidden_act="gelu_new", down_scale_factor=1, gap_size=0, net_structure_type=0,
            num_memory_blocks=0, classifier_dropout_prob=0.1, bos_token_id=2, eos_token_id=3, pad_token_id=0,
        ),
        mutations={"one group for all layers": config(num_hidden_groups=1), "GELU by erf": config(hidden_act="gelu"), "type row dropped": zero("token_type_embeddings"),
                   "mapping's bias dropped": zero("embedding_hidden_mapping_in.bias")},
    ),
    "electra": Directory(
        "ELECTRA: embeddings of width 22 projected to 33; names with electra. prefix", "wordpiece", seed=17, pad_id=0, pooling="cls", after=(),
        config=lambda t: bertlike_config(
            t, "electra", "ElectraForPreTraining", hidden_size=33, embedding_size=22, num_attention_heads=3, intermediate_size=44, layer_norm_eps=1e-12,
            max_position_embeddings=40, type_vocab_size=2, pad_token_id=0, summary_activation="gelu", summary_last_dropout=0.1, summary_type="first", summary_use_proj=True,
        ),
        names="electra.{}".format, centre="encoder.layer.2.output.LayerNorm.bias",
        mutations={"projection's bias dropped": zero("embeddings_project.bias"), "type row dropped": zero("token_type_embeddings")},
    ),
    "deberta_v2": Directory(
        "DeBERTa-v3: disentangled attention with log buckets, shared projections, normed positions, no positions or types in the input; Unigram", "deberta_v2", seed=18, pad_id=0,
        config=deberta_config, max_tokens=40, eager=False, centre="encoder.layer.2.output.LayerNorm.bias", after=(),
        mutations={"content to position dropped": config(pos_att_type="p2c"), "position to content dropped": config(pos_att_type="c2p"), "position norm dropped": config(norm_rel_ebd="none"),
                   "buckets by distance up to 20": config(max_relative_positions=20), "position rows dropped": zero("rel_embeddings")},
    ),
    "deberta_v2_own": Directory(
        "DeBERTa-v2: own position projections, a convolution after layer 0, embeddings of width 21 projected, types and positions in the input, no buckets", "deberta_v2", seed=19, pad_id=0,
        config=lambda t: deberta_config(
            t, hidden_size=28, num_attention_heads=4, embedding_size=21, share_att_key=False, pos_att_type=["c2p", "p2c"], position_buckets=-1, max_relative_positions=24, norm_rel_ebd="none",
            position_biased_input=True, type_vocab_size=2, conv_kernel_size=3, conv_act="gelu", layer_norm_eps=1e-6,
        ),
        eager=False, centre="encoder.layer.2.output.LayerNorm.bias", after=(), names="deberta.{}".format,
        mutations={"convolution dropped": config(conv_kernel_size=0), "content to position dropped": config(pos_att_type=["p2c"]), "position query's bias dropped": zero("pos_query_proj.bias"),
                   "type row dropped": zero("token_type_embeddings")},
    ),
}

# Encoders with RoPE ---------------------------------------------------------------------------------------------------

def modernbert_config(t: Tokenizer, **more) -> dict:
    ids = t.ids
    return {
        "architectures": ["ModernBertModel"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": ids["[CLS]"], "classifier_activation": "gelu",
        "classifier_bias": False, "classifier_dropout": 0.0, "classifier_pooling": "mean", "cls_token_id": ids["[CLS]"], "decoder_bias": True,
        "deterministic_flash_attn": False, "embedding_dropout": 0.0, "eos_token_id": ids["[SEP]"], "global_attn_every_n_layers": 3, "global_rope_theta": 300.0,
        "gradient_checkpointing": False, "hidden_activation": "gelu", "hidden_size": 30, "initializer_cutoff_factor": 2.0, "initializer_range": 0.02,
        "intermediate_size": 46, "layer_norm_eps": 1e-5, "local_attention": 8, "local_rope_theta": 40.0, "max_position_embeddings": 40, "mlp_bias": False,
        "mlp_dropout": 0.0, "model_type": "modernbert", "norm_bias": False, "norm_eps": 1e-5, "num_attention_heads": 3, "num_hidden_layers": 4,
        "pad_token_id": ids["[PAD]"], "position_embedding_type": "absolute", "reference_compile": True, "repad_logits_with_grad": False,
        "sep_token_id": ids["[SEP]"], "sparse_pred_ignore_index": -100, "sparse_prediction": False, "torch_dtype": "float32", "transformers_version": "4.48.0",
        "vocab_size": t.size,
    } | more


def _modernbert_5(t: Tokenizer) -> dict:
    """Transformers 5's spelling: bases by layer type, a list of layer types, an odd window, biases everywhere, RoPE of global layers stretched."""
    gone = ("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta", "torch_dtype", "position_embedding_type", "reference_compile", "repad_logits_with_grad", "layer_norm_eps")
    new = {
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "num_hidden_layers": 3, "local_attention": 7, "norm_bias": True, "attention_bias": True,
        "mlp_bias": True, "dtype": "float32", "transformers_version": "5.23.0", "hidden_size": 36, "num_attention_heads": 3, "norm_eps": 1e-4,
        "rope_parameters": {"full_attention": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.5}, "sliding_attention": {"rope_type": "default", "rope_theta": 60.0}},
    }
    return {k: v for k, v in modernbert_config(t).items() if k not in gone} | new


def _nomic(t: Tokenizer, **more) -> dict:
    """The released file holds both spellings."""
    return {
        "activation_function": "swiglu", "architectures": ["NomicBertModel"], "attn_pdrop": 0.0,
        "auto_map": {"AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig", "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel",
                     "AutoModelForMaskedLM": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertForPreTraining"},
        "bos_token_id": None, "causal": False, "dense_seq_output": True, "embd_pdrop": 0.0, "eos_token_id": None, "fused_bias_fc": True, "fused_dropout_add_ln": True,
        "head_dim": 10, "hidden_act": "silu", "hidden_size": 30, "initializer_range": 0.02, "intermediate_size": 46, "layer_norm_eps": 1e-12, "layer_norm_epsilon": 1e-12,
        "max_position_embeddings": 40, "max_trained_positions": 40, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "model_type": "nomic_bert", "n_embd": 30, "n_head": 3,
        "n_inner": 46, "n_layer": 3, "n_positions": 160, "num_attention_heads": 3, "num_hidden_layers": 3, "pad_token_id": 0, "pad_vocab_size_multiple": 64,
        "parallel_block": False, "parallel_block_tied_norm": False, "prenorm": False, "qkv_proj_bias": False, "reorder_and_upcast_attn": False, "resid_pdrop": 0.0,
        "rope_parameters": {"rope_theta": 70.0, "rope_type": "default"}, "rotary_emb_base": 70.0, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None, "rotary_scaling_factor": None, "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "summary_activation": None,
        "summary_first_dropout": 0.0, "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True, "torch_dtype": "float32",
        "transformers_version": "4.34.0", "type_vocab_size": 2, "use_cache": True, "use_flash_attn": True, "use_rms_norm": False, "use_xentropy": True, "vocab_size": t.size,
    } | more


def _new(t: Tokenizer, **more) -> dict:
    code = "Alibaba-NLP/new-impl--"
    return {
        "architectures": ["NewModel"], "attention_probs_dropout_prob": 0.0,
        "auto_map": {"AutoConfig": code + "configuration.NewConfig", "AutoModel": code + "modeling.NewModel", "AutoModelForMaskedLM": code + "modeling.NewForMaskedLM",
                     "AutoModelForSequenceClassification": code + "modeling.NewForSequenceClassification"},
        "classifier_dropout": None, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 30, "initializer_range": 0.02, "intermediate_size": 46,
        "layer_norm_eps": 1e-12, "layer_norm_type": "layer_norm", "logn_attention_clip1": False, "logn_attention_scale": False, "max_position_embeddings": 40,
        "model_type": "new", "num_attention_heads": 3, "num_hidden_layers": 3, "pack_qkv": True, "pad_token_id": 0, "position_embedding_type": "rope",
        "rope_scaling": {"factor": 2.0, "type": "ntk"}, "rope_theta": 90.0, "torch_dtype": "float32", "transformers_version": "4.39.1", "type_vocab_size": 0,
        "unpad_inputs": False, "use_memory_efficient_attention": False, "vocab_size": t.size,
    } | more


def _jina_v2(t: Tokenizer, implementation: str, **more) -> dict:
    code = f"jinaai/{implementation}--"
    return {
        "_name_or_path": f"jinaai/{implementation}", "architectures": ["JinaBertForMaskedLM"], "attention_probs_dropout_prob": 0.0, "attn_implementation": "torch",
        "auto_map": {"AutoConfig": code + "configuration_bert.JinaBertConfig", "AutoModel": code + "modeling_bert.JinaBertModel",
                     "AutoModelForMaskedLM": code + "modeling_bert.JinaBertForMaskedLM", "AutoModelForSequenceClassification": code + "modeling_bert.JinaBertForSequenceClassification"},
        "classifier_dropout": None, "emb_pooler": "mean", "feed_forward_type": "geglu", "gradient_checkpointing": False, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "hidden_size": 30, "initializer_range": 0.02, "intermediate_size": 46, "layer_norm_eps": 1e-12, "max_position_embeddings": 40, "model_max_length": 40,
        "model_type": "bert", "num_attention_heads": 6, "num_hidden_layers": 3, "pad_token_id": 0, "position_embedding_type": "alibi", "torch_dtype": "float32",
        "transformers_version": "4.26.0", "type_vocab_size": 2, "use_cache": True, "vocab_size": t.size,
    } | more


JINA_TASKS = ("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
JINA_PROMPTS = {"retrieval.query": "find: ", "retrieval.passage": "text: ", "separation": "", "classification": "", "text-matching": ""}


def _jina_v3(t: Tokenizer) -> dict:
    code = "jinaai/xlm-roberta-flash-implementation--"
    return {
        "_name_or_path": "jinaai/jina-embeddings-v3", "architectures": ["XLMRobertaModel"], "attention_probs_dropout_prob": 0.1,
        "auto_map": {"AutoConfig": code + "configuration_xlm_roberta.XLMRobertaFlashConfig", "AutoModel": code + "modeling_lora.XLMRobertaLoRA",
                     "AutoModelForMaskedLM": code + "modeling_xlm_roberta.XLMRobertaForMaskedLM", "AutoModelForPreTraining": code + "modeling_xlm_roberta.XLMRobertaForPreTraining"},
        "bos_token_id": 0, "classifier_dropout": None, "emb_pooler": None, "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 30,
        "initializer_range": 0.02, "intermediate_size": 46, "layer_norm_eps": 1e-5, "load_trained_adapters": True, "lora_adaptations": list(JINA_TASKS), "lora_alpha": 2,
        "lora_dropout_p": 0.0, "lora_main_params_trainable": False, "lora_rank": 4, "matryoshka_dimensions": [8, 16, 30], "max_position_embeddings": 42,
        "model_type": "xlm-roberta", "num_attention_heads": 3, "num_hidden_layers": 3, "output_past": True, "pad_token_id": 1, "position_embedding_type": "rotary",
        "rotary_emb_base": 110.0, "task_instructions": JINA_PROMPTS, "torch_dtype": "bfloat16", "transformers_version": "4.30.2", "truncate_dim": None,
        "type_vocab_size": 1, "use_cache": False, "use_flash_attn": True, "use_reentrant": False, "vocab_size": t.size,
    }


def _jina_v3_5(t: Tokenizer) -> dict:
    return {
        "architectures": ["JinaEmbeddingsV3Model"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "classifier_dropout": None, "dtype": "float32", "eos_token_id": 2,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 30, "initializer_range": 0.02, "intermediate_size": 46, "layer_norm_eps": 1e-5,
        "max_position_embeddings": 42, "model_type": "jina_embeddings_v3", "num_attention_heads": 3, "num_hidden_layers": 3, "pad_token_id": 1,
        "rope_parameters": {"rope_theta": 120.0, "rope_type": "default"}, "tie_word_embeddings": True, "transformers_version": "5.23.0", "type_vocab_size": 1,
        "use_cache": True, "vocab_size": t.size,
    }


def _gte(t: Tokenizer) -> dict:
    return {
        "architectures": ["GteModel"], "attention_probs_dropout_prob": 0.0, "bos_token_id": 0, "classifier_dropout": None, "dtype": "float32", "eos_token_id": 2,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 30, "initializer_range": 0.02, "intermediate_size": 46, "layer_norm_eps": 1e-12,
        "max_position_embeddings": 40, "model_type": "gte", "num_attention_heads": 3, "num_hidden_layers": 3, "pad_token_id": 1,
        "rope_parameters": {"factor": 1.5, "rope_theta": 160.0, "rope_type": "linear"}, "tie_word_embeddings": True, "transformers_version": "5.23.0",
        "type_vocab_size": 1, "vocab_size": t.size,
    }


def _eurobert(t: Tokenizer, **more) -> dict:
    return {
        "architectures": ["EuroBertModel"], "attention_bias": False, "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_eurobert.EuroBertConfig", "AutoModel": "modeling_eurobert.EuroBertModel", "AutoModelForMaskedLM": "modeling_eurobert.EuroBertForMaskedLM"},
        "bos_token": "<|begin_of_text|>", "bos_token_id": t.ids["<|begin_of_text|>"], "clf_pooling": "late", "eos_token": "<|end_of_text|>", "eos_token_id": t.ids["<|end_of_text|>"],
        "head_dim": 6, "hidden_act": "silu", "hidden_dropout": 0.0, "hidden_size": 30, "initializer_range": 0.02, "intermediate_size": 46, "mask_token": "<|mask|>",
        "mask_token_id": t.ids["<|mask|>"], "max_position_embeddings": 40, "mlp_bias": False, "model_type": "eurobert", "num_attention_heads": 5, "num_hidden_layers": 3,
        "num_key_value_heads": 1, "pad_token": "<|pad|>", "pad_token_id": t.ids["<|pad|>"], "pretraining_tp": 1, "rms_norm_eps": 1e-5,
        "rope_scaling": {"factor": 4.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 16, "rope_type": "llama3"},
        "rope_theta": 250.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.40.0", "use_cache": False, "vocab_size": t.size,
    } | more


ENCODERS = {
    "modernbert": Directory(
        "ModernBERT: pre-norm, two RoPE bases, every third layer global and the rest within 4 tokens, GeGLU; byte-level BPE", "modernbert", seed=21, window=8, pad_id=349,
        config=modernbert_config, pooling="cls", limit_in="tokenizer",
        mutations={"window dropped": config(local_attention=1000), "window of 4 for 8": config(local_attention=4), "window of 10 for 8": config(local_attention=10),
                   "global base for local": config(local_rope_theta=300.0), "local base for global": config(global_rope_theta=40.0), "gate halves swapped": halve_swap("mlp.Wi"),
                   "first layer local too": config(layer_types=["sliding_attention"] * 3 + ["full_attention"])},
    ),
    "modernbert_5": Directory(
        "ModernBERT as transformers 5 writes it: layer_types and rope_parameters, window 7, all biases, global RoPE stretched 2.5 times; names with model. prefix", "modernbert", seed=22, window=7, pad_id=349,
        config=_modernbert_5, spelling="new", limit_in="tokenizer", names="model.{}".format, centre="final_norm.bias",
        mutations={"window dropped": config(local_attention=1000), "window of 6 for 7": config(local_attention=4), "RoPE scaling dropped": config(
            rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 500.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 60.0}}),
            "attention biases dropped": zero("Wqkv.bias", "attn.Wo.bias"), "norm biases dropped": zero("norm.bias")},
    ),
    "nomic_bert": Directory(
        "nomic-embed-text: RoPE, SwiGLU, no biases, fused Wqkv, post-norm; both spellings of config keys as released", "wordpiece", seed=23, pad_id=0, after=(),
        config=_nomic, centre="layers.2.post_mlp_layernorm.bias",
        mutations={"base 10000": config(rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}), "gate and plain half swapped": swap("fc11", "fc12"),
                   "ReLU gate": config(hidden_act="relu"), "type row dropped": zero("token_type_embeddings")},
    ),
    "nomic_bert_dynamic": Directory(
        "the same with RoPE that grows for texts over 24 tokens (rotary_scaling_factor 2, max_trained_positions 24); each text from a fresh model", "wordpiece", seed=23, pad_id=0, after=(),
        config=lambda t: _nomic(
            t, rope_parameters={"rope_theta": 70.0, "rope_type": "dynamic", "factor": 2.0}, rotary_scaling_factor=2.0, max_trained_positions=24, max_position_embeddings=24,
        ),
        window=24, stateful=True, centre="layers.2.post_mlp_layernorm.bias", mutations={"scaling dropped": config(rope_parameters={"rope_theta": 70.0, "rope_type": "default"})},
    ),
    "gte": Directory(
        "gte-multilingual-base as transformers 5's own class reads it: RoPE with scaling, GeGLU, fused QKV; Unigram", "xlm_roberta", seed=24, weights={"qk_gain": 1.5}, pooling="cls", spelling="new", limit_in="tokenizer",
        config=_gte, centre="layers.2.post_mlp_layernorm.bias",
        mutations={"RoPE scaling dropped": config(rope_parameters={"rope_theta": 160.0, "rope_type": "default"}), "base 10000": config(rope_parameters={"rope_theta": 1e4, "rope_type": "linear", "factor": 1.5}),
                   "gate halves swapped": halve_swap("up_gate_proj"), "type row dropped": zero("token_type_embeddings")},
    ),
    "new": Directory(
        "gte-*-v1.5 (model_type new, code of its own): RoPE with NTK scaling 2, GeGLU, fused QKV, no type rows; WordPiece", "wordpiece", seed=25, weights={"qk_gain": 1.5}, pad_id=0, pooling="cls", after=(),
        config=_new, model="reference_new.NewModel", code=("reference_new", "NewConfig", "NewModel"), eager=False, centre="encoder.layer.2.mlp_ln.bias",
        mutations={"NTK scaling dropped": config(rope_scaling=None), "base 10000": config(rope_theta=10000.0), "gate halves swapped": halve_swap("up_gate_proj")},
    ),
    "new_multilingual": Directory(
        "gte-multilingual-base as released: names with new. prefix, one type row, NTK scaling 8; Unigram", "xlm_roberta", seed=26, weights={"qk_gain": 1.5}, pooling="cls",
        config=lambda t: _new(t, architectures=["NewForTokenClassification"], rope_scaling={"factor": 8.0, "type": "ntk"}, rope_theta=20.0, type_vocab_size=1, pad_token_id=1, torch_dtype="float16"),
        model="reference_new.NewModel", code=("reference_new", "NewConfig", "NewModel"), eager=False, centre="encoder.layer.2.mlp_ln.bias", names="new.{}".format, dtype=torch.float16,
        mutations={"NTK scaling dropped": config(rope_scaling=None), "type row dropped": zero("token_type_embeddings")},
    ),
    "jina_v2": Directory(
        "jina-embeddings-v2 (config says bert; code of its own): ALiBi over 6 heads, GeGLU; WordPiece", "wordpiece", seed=27, pad_id=0, after=(),
        config=lambda t: _jina_v2(t, "jina-bert-implementation"), model="reference_jina.JinaBertModel", code=("reference_jina", "JinaBertConfig", "JinaBertModel"), eager=False,
        centre="encoder.layer.2.mlp.layernorm.bias", 
        mutations={"ALiBi dropped": alibi(lambda s: [0.0] * len(s)), "slopes 2^(-8k/6) for 6 heads": alibi(lambda s: [2 ** (-8 * (k + 1) / 6) for k in range(6)]),
                   "gate halves swapped": halve_swap("gated_layers"), "type row dropped": zero("token_type_embeddings")},
    ),
    "jina_v2_code": Directory(
        "jina-embeddings-v2-base-code: q and k normed over all heads, three norms a layer, gate rows second; byte-level BPE", "roberta", seed=28,
        config=lambda t: _jina_v2(t, "jina-bert-v2-qk-post-norm", num_attention_heads=5, pad_token_id=1), model="reference_jina.JinaBertCodeModel",
        code=("reference_jina", "JinaBertConfig", "JinaBertCodeModel"), eager=False, centre="encoder.layer.2.layer_norm_2.bias",
        mutations={"ALiBi dropped": alibi(lambda s: [0.0] * len(s)), "q and k norms dropped": without("layer_norm_q", "layer_norm_k"), "gate halves swapped": halve_swap("up_gated_layer"),
                   "norm of the attention's output dropped": without("LayerNorm")},
    ),
    "jina_v3": Directory(
        "jina-embeddings-v3 (config says xlm-roberta; code of its own): RoPE, an adapter of rank 4 a task; Unigram; bf16 weights", "xlm_roberta", seed=29,
        config=_jina_v3, model="reference_jina_v3.XLMRobertaLoRA", code=("reference_jina_v3", "XLMRobertaFlashConfig", "XLMRobertaLoRA"), eager=False,
        tasks=JINA_TASKS, prompts=JINA_PROMPTS, dtype=torch.bfloat16, centre="roberta.encoder.layers.2.norm2.bias",
        mutations={"adapters dropped": zero("lora_A"), "adapters of embeddings dropped": zero("embeddings.word_embeddings.parametrizations.weight.0.lora_A"),
                   "adapter scale 1": config(lora_alpha=4), "base 10000": config(rotary_emb_base=10000.0), "type row dropped": zero("token_type_embeddings")},
    ),
    "jina_v3_5": Directory(
        "jina-embeddings-v3 as transformers 5's own class reads it, without adapters", "xlm_roberta", seed=30, spelling="new", limit_in="tokenizer", max_tokens=42,
        config=_jina_v3_5, centre="layers.2.post_mlp_layernorm.bias", mutations={"base 10000": config(rope_parameters={"rope_theta": 1e4, "rope_type": "default"})},
    ),
    "eurobert": Directory(
        "EuroBERT: RMSNorm, RoPE with llama3 scaling, 5 query heads on 1 key head, SwiGLU, bidirectional; byte-level BPE", "llama3", seed=31, pad_id=349,
        config=_eurobert, limit_in="tokenizer",
        mutations={"RoPE scaling dropped": config(rope_scaling=None), "base 10000": config(rope_theta=1e4), "gate and up swapped": swap("gate_proj", "up_proj")},
    ),
}
