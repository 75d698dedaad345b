"""The directories that are no plain embedding model: cross-encoders, SPLADE, ColBERT, static embeddings, Router."""

import string
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from tokenizers import Tokenizer as Tokenizers

from arch_mutations import config, zero
from arch_spec import MADE_WITH, Directory, dense_layer, write_json
from arch_table import bertlike_config, deberta_config, distilbert_config, modernbert_config, robertalike_config


def _readable(path: Path) -> None:
    for file in path.rglob("*.safetensors"):
        file.chmod(0o644)


def _labels(count: int, **more) -> dict:
    return {"id2label": {str(i): f"LABEL_{i}" for i in range(count)}, "label2id": {f"LABEL_{i}": i for i in range(count)}} | more


# Cross-encoders -------------------------------------------------------------------------------------------------------

def save_again(spec, path: Path) -> None:
    """The files as sentence-transformers 6.2 writes them."""
    model = CrossEncoder(str(path), device="cpu", model_kwargs={"dtype": torch.float32})
    model.save_pretrained(str(path), create_model_card=False)
    _readable(path)


def _cross(note: str, tokenizer: str, make_config, mutations: dict, seed: int, **more) -> Directory:
    return Directory(note, tokenizer, make_config, model="AutoModelForSequenceClassification", kind="cross", seed=seed, limit_in="tokenizer", mutations=mutations, **more)


_SMALL = dict(hidden_size=24, num_attention_heads=3, intermediate_size=37)
_IDENTITY = "torch.nn.modules.linear.Identity"

CROSS = {
    "cross_bert": _cross(
        "ms-marco-MiniLM: BertForSequenceClassification, one label, Identity named by sbert_ce_default_activation_function; WordPiece", "wordpiece", seed=61, pad_id=0,
        make_config=lambda t: bertlike_config(
            t, "bert", "BertForSequenceClassification", **_SMALL, layer_norm_eps=1e-12, max_position_embeddings=40, type_vocab_size=2, pad_token_id=0,
            **_labels(1, sbert_ce_default_activation_function=_IDENTITY),
        ),
        mutations={"type rows dropped": zero("token_type_embeddings"), "pooler's bias dropped": zero("pooler.dense.bias")},
    ),
    "cross_roberta": _cross(
        "nli-roberta: RobertaForSequenceClassification, three labels, no activation; byte-level BPE, pairs with two separators", "roberta", seed=62,
        make_config=lambda t: robertalike_config(t, "roberta", "RobertaForSequenceClassification", **_SMALL, **_labels(3)), max_tokens=40,
        mutations={"head's bias dropped": zero("classifier.dense.bias")},
    ),
    "cross_xlm_roberta": _cross(
        "bge-reranker: XLMRobertaForSequenceClassification, one label, so Sigmoid; Unigram", "xlm_roberta", seed=63,
        make_config=lambda t: robertalike_config(t, "xlm-roberta", "XLMRobertaForSequenceClassification", **_SMALL, **_labels(1)), max_tokens=40,
        mutations={"head's bias dropped": zero("classifier.dense.bias")},
    ),
    "cross_electra": _cross(
        "ElectraForSequenceClassification, one label, Sigmoid named in the config's sentence_transformers entry; WordPiece", "wordpiece", seed=64, pad_id=0,
        make_config=lambda t: bertlike_config(
            t, "electra", "ElectraForSequenceClassification", hidden_size=24, embedding_size=16, num_attention_heads=3, intermediate_size=37, layer_norm_eps=1e-12, max_position_embeddings=40,
            type_vocab_size=2, pad_token_id=0, **_labels(1, sentence_transformers={"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "4.1.0"}),
        ),
        mutations={"type rows dropped": zero("token_type_embeddings"), "head's bias dropped": zero("classifier.dense.bias")},
    ),
    "cross_deberta": _cross(
        "nli-deberta-v3: DebertaV2ForSequenceClassification, three labels; Unigram", "deberta_v2", seed=65, pad_id=0, eager=False,
        make_config=lambda t: deberta_config(
            t, architectures=["DebertaV2ForSequenceClassification"], hidden_size=24, num_attention_heads=3, intermediate_size=37, pooler_dropout=0, pooler_hidden_act="gelu", pooler_hidden_size=24,
            **_labels(3),
        ),
        mutations={"position rows dropped": zero("rel_embeddings"), "head's activation tanh": config(pooler_hidden_act="tanh")},
    ),
    "cross_modernbert": _cross(
        "gte-reranker-modernbert: ModernBertForSequenceClassification, one label, mean of all tokens, files as 6.2 writes them; byte-level BPE", "modernbert", seed=66, pad_id=349, modules=save_again,
        make_config=lambda t: modernbert_config(t, architectures=["ModernBertForSequenceClassification"], hidden_size=24, num_attention_heads=3, intermediate_size=37, num_hidden_layers=3, **_labels(1)),
        mutations={"first token for mean": config(classifier_pooling="cls"), "window dropped": config(local_attention=1000), "head's activation ReLU": config(classifier_activation="relu")},
    ),
    "cross_distilbert": _cross(
        "DistilBertForSequenceClassification, two labels; WordPiece, type ids that the model does not take", "wordpiece", seed=67, pad_id=0,
        make_config=lambda t: distilbert_config(t, "DistilBertForSequenceClassification", dim=24, n_heads=3, hidden_dim=37, **_labels(2)), mutations={"head's bias dropped": zero("pre_classifier.bias")},
    ),
}

# SPLADE ---------------------------------------------------------------------------------------------------------------

def splade(spec, path: Path) -> None:
    """As sentence-transformers 5.0 wrote it."""
    kinds = [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")]
    write_json(path / "modules.json", [
        {"idx": i, "name": str(i), "path": folder, "type": f"sentence_transformers.sparse_encoder.models.{kind}"} for i, (folder, kind) in enumerate(kinds)
    ])
    write_json(path / "1_SpladePooling" / "config.json", {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": None})
    settings = {"model_type": "SparseEncoder", "__version__": MADE_WITH["old"] | {"sentence_transformers": "5.0.0"}, "prompts": {"query": "", "document": ""}, "default_prompt_name": None, "similarity_fn_name": "dot"}
    write_json(path / "config_sentence_transformers.json", settings)
    write_json(path / "sentence_bert_config.json", {"max_seq_length": spec.max_tokens, "do_lower_case": False})


def splade_routed(spec, path: Path) -> None:
    """Queries by a weight for each token, documents by the model: as 6.2 writes it."""
    with tempfile.TemporaryDirectory() as encoder:
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
            (path / file).rename(Path(encoder) / file)
        transformer = Transformer(encoder, transformer_task="fill-mask", model_kwargs={"dtype": torch.float32})
        weight = torch.from_numpy(np.random.RandomState(spec.seed).uniform(0.1, 4.0, spec.family.size).astype(np.float32))
        router = Router.for_query_document(
            query_modules=[SparseStaticEmbedding(transformer.tokenizer, weight=weight, frozen=True)],
            document_modules=[transformer, SpladePooling(pooling_strategy="max", activation_function="log1p_relu")],
        )
        SparseEncoder(modules=[router], similarity_fn_name="dot", device="cpu").save_pretrained(str(path), create_model_card=False)
    _readable(path)


SPARSE = {
    "splade": Directory(
        "SPLADE: BertForMaskedLM, relu, maximum; files as 5.0 wrote them; WordPiece", "wordpiece", seed=71, pad_id=0, kind="sparse", model="BertForMaskedLM", modules=splade,
        config=lambda t: bertlike_config(t, "bert", "BertForMaskedLM", **_SMALL, layer_norm_eps=1e-12, max_position_embeddings=40, type_vocab_size=2, pad_token_id=0),
        weights={"word_gain": 0.6, "vocabulary_bias": -6.0}, mutations={"head's norm bias dropped": zero("cls.predictions.transform.LayerNorm.bias"), "vocabulary bias dropped": zero("cls.predictions.bias")},
    ),
    "splade_routed": Directory(
        "inference-free SPLADE (opensearch doc models): Router with token weights for queries and DistilBertForMaskedLM, log(1+log(1+relu)), for documents; files as 6.2 writes them", "wordpiece",
        seed=72, pad_id=0, kind="sparse", model="DistilBertForMaskedLM", modules=splade_routed, config=lambda t: distilbert_config(t, "DistilBertForMaskedLM", dim=24, n_heads=3, hidden_dim=37),
        weights={"word_gain": 0.6, "vocabulary_bias": -6.0}, limit_in="tokenizer", routed=True, tokenizer_folder="document_0_Transformer", mutations={"vocabulary bias dropped": zero("vocab_projector.bias")},
    ),
}

# ColBERT --------------------------------------------------------------------------------------------------------------

def colbert(spec, path: Path) -> None:
    """As 6.2 writes it: a mark before each text, queries filled up to 12 tokens with the mask token, documents without punctuation."""
    transformer = Transformer(str(path), document_length=30, query_expansion={"strategy": "fixed", "attend": False, "length": 12}, model_kwargs={"dtype": torch.float32})
    dense = Dense(24, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
    dense.load_state_dict(dense_layer(24, 8, spec.seed, bias=False))
    modules = [transformer, dense, MultiVectorMask(skiplist_words=list(string.punctuation)), Normalize(module_input_name="token_embeddings")]
    model = MultiVectorEncoder(modules=modules, prompts={"query": "find: ", "document": "text: "}, device="cpu")
    model.save_pretrained(str(path), create_model_card=False)
    _readable(path)


def colbert_stanford(spec, path: Path) -> None:
    """colbertv2.0: the projection beside the encoder's tensors, settings in artifact.metadata, no modules.json."""
    tensors = load_file(path / "model.safetensors") | dense_layer(24, 8, spec.seed, bias=False)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    write_json(path / "artifact.metadata", {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]", "doc_token": "[D]", "dim": 8, "similarity": "cosine", "attend_to_mask_tokens": False,
        "mask_punctuation": True, "query_maxlen": 12, "doc_maxlen": 30, "model_type": "bert-base-uncased",
    })
    _readable(path)


def _colbert_config(t, architecture: str) -> dict:
    return bertlike_config(t, "bert", architecture, **_SMALL, layer_norm_eps=1e-12, max_position_embeddings=40, type_vocab_size=2, pad_token_id=0)


MULTI = {
    "colbert": Directory(
        "ColBERT as 6.2 writes it: Dense to 8 a token, skip list, queries filled with [MASK] that no token attends to; WordPiece", "wordpiece", seed=73, pad_id=0, kind="multi",
        config=lambda t: _colbert_config(t, "BertModel"), limit_in="tokenizer", max_tokens=40, modules=colbert, mutations={"type rows dropped": zero("token_type_embeddings")},
    ),
    "colbert_stanford": Directory(
        "colbertv2.0 as released: HF_ColBERT, linear.weight beside bert., artifact.metadata; [unused0] and [unused1] taken as one token", "wordpiece_unused", seed=74, pad_id=0, kind="multi",
        config=lambda t: _colbert_config(t, "HF_ColBERT"), model="BertModel", limit_in="tokenizer", max_tokens=40, modules=colbert_stanford, names="bert.{}".format,
        mutations={"last row of the projection dropped": {"tensors": lambda s: s["linear.weight"][7].zero_()}},
    ),
}

# Static embeddings, Router --------------------------------------------------------------------------------------------

def _table(spec, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(spec.seed).standard_normal((spec.family.size, width)).astype(np.float32))


def _static_settings(path: Path, names: list[tuple[str, str]]) -> None:
    write_json(path / "modules.json", [{"idx": i, "name": str(i), "path": folder, "type": f"sentence_transformers.models.{kind}"} for i, (folder, kind) in enumerate(names)])
    write_json(path / "config_sentence_transformers.json", {"__version__": MADE_WITH["old"], "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"})


def static(spec, path: Path) -> None:
    folder = path / "0_StaticEmbedding"
    folder.mkdir()
    spec.family.write(folder, None)
    (folder / "tokenizer_config.json").unlink()
    save_file({"embedding.weight": _table(spec, 20)}, folder / "model.safetensors", metadata={"format": "pt"})
    _static_settings(path, [("0_StaticEmbedding", "StaticEmbedding")])
    _readable(path)


def model2vec(spec, path: Path) -> None:
    """As potion: rows shared by tokens (mapping) and a weight for each token."""
    spec.family.write(path, None)
    rng = np.random.RandomState(spec.seed)
    rows = 120
    tensors = {
        "embeddings": _table(spec, 18)[:rows].clone(), "mapping": torch.from_numpy(rng.randint(0, rows, spec.family.size)),
        "weights": torch.from_numpy(rng.uniform(0.2, 2.0, spec.family.size).astype(np.float32)),
    }
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    write_json(path / "config.json", {
        "model_type": "model2vec", "architectures": ["StaticModel"], "tokenizer_name": "tiny", "apply_pca": 18, "sif_coefficient": 0.0001, "hidden_dim": 18, "seq_length": 1000000, "normalize": True,
    })
    _static_settings(path, [(".", "StaticEmbedding"), ("1_Normalize", "Normalize")])
    _readable(path)


def router(spec, path: Path) -> None:
    with tempfile.TemporaryDirectory() as encoder:
        spec.write_encoder(Path(encoder))
        transformer = Transformer(encoder, model_kwargs={"dtype": torch.float32})
        static = StaticEmbedding(Tokenizers.from_file(str(Path(encoder) / "tokenizer.json")), embedding_weights=_table(spec, 24))
        routed = Router.for_query_document(query_modules=[static], document_modules=[transformer, Pooling(24, "mean")], default_route="document")
        model = SentenceTransformer(modules=[routed, Normalize()], prompts={"query": "find: ", "document": "text: "}, device="cpu")
        model.save_pretrained(str(path), create_model_card=False)
    _readable(path)


OTHERS = {
    "static": Directory("StaticEmbedding: a row a token and their mean; no special tokens; WordPiece", "wordpiece", lambda t: {}, kind="static", seed=81, modules=static, tokenizer_folder="0_StaticEmbedding"),
    "static_model2vec": Directory("model2vec, potion: rows shared by a mapping, weights for tokens, Normalize; byte-level BPE", "roberta", lambda t: {}, kind="static", seed=82, modules=model2vec),
    "router": Directory(
        "Router: queries by a static table, documents by BERT with mean, then Normalize; prompts for both; files as 6.2 writes them", "wordpiece", seed=83, pad_id=0, kind="router", modules=router,
        config=lambda t: _colbert_config(t, "BertModel"), limit_in="tokenizer", tokenizer_folder="document_0_Transformer", mutations={"type rows dropped": zero("token_type_embeddings")},
    ),
}

KINDS = CROSS | SPARSE | MULTI | OTHERS
