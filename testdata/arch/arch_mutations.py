"""What to change in a directory to see that a mistake shows: tensors, keys of config.json, or the modules that were built."""

import torch


def zero(*parts: str):
    """Sets the tensors whose names hold one of the parts to zero."""
    def change(tensors):
        for name, t in tensors.items():
            if any(p in name for p in parts):
                t.zero_()
    return {"tensors": change}


def halve_swap(*parts: str):
    """Swaps the two halves of the rows: a gate that is read in the wrong order."""
    def change(tensors):
        for name, t in tensors.items():
            if any(p in name for p in parts):
                t.copy_(torch.cat(t.chunk(2)[::-1]))
    return {"tensors": change}


def swap(one: str, other: str):
    """Swaps pairs of tensors."""
    def change(tensors):
        for name in [n for n in tensors if one in n]:
            a, b = tensors[name], tensors[name.replace(one, other)]
            kept = a.clone()
            a.copy_(b)
            b.copy_(kept)
    return {"tensors": change}


def without(*names: str):
    """Replaces the modules of these names by nothing."""
    def change(model):
        found = [(m, n) for m in model.modules() for n, _ in m.named_children() if n in names]
        assert found
        for m, n in found:
            setattr(m, n, torch.nn.Identity())
    return {"modules": change}


def config(**changes):
    return {"config": changes}


def alibi(change):
    """Changes the slopes of our reference's ALiBi."""
    def apply(model):
        model[0].model.slopes = change(model[0].model.slopes)
    return {"modules": apply}


def causal(model):
    """Turns a model that sees only what came before into one that sees all."""
    model[0].model.config.is_causal = False
    for m in model.modules():
        if hasattr(m, "is_causal"):
            m.is_causal = False
