"""Fingerprints: equal for equal input, different for any difference that could change a run."""

from __future__ import annotations

import hashlib

import pytest
import torch
from engine_toy import llama, with_lora

from alignkit.records.fingerprints import model_fingerprint, text_fingerprint


class Tiny(torch.nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32, *, tied: bool = False):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.5, dtype=dtype))
        self.body = torch.nn.Parameter(torch.arange(6, dtype=dtype).reshape(2, 3))
        if tied:
            self.head = self.body


def test_the_hash_is_of_names_dtypes_shapes_and_bytes():
    """Little-endian float32: 0..5 are six words, 1.5 is 0x3fc00000; `body` comes before `scale`."""
    words = bytes.fromhex("00000000 0000803f 00000040 00004040 00008040 0000a040")
    digest = hashlib.blake2b(digest_size=16)
    digest.update(b"body:torch.float32:(2, 3):" + words)
    digest.update(b"scale:torch.float32:():" + bytes.fromhex("0000c03f"))
    assert model_fingerprint(Tiny()) == digest.hexdigest()


def test_tying_and_requires_grad_and_strides_do_not_matter():
    strided = Tiny()
    strided.body = torch.nn.Parameter(strided.body.detach().t().contiguous().t(), requires_grad=False)
    assert not strided.body.is_contiguous()
    assert model_fingerprint(strided) == model_fingerprint(Tiny()) == model_fingerprint(Tiny(tied=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_precision_is_part_of_it(dtype):
    assert model_fingerprint(Tiny(dtype)) == model_fingerprint(Tiny(dtype))
    assert model_fingerprint(Tiny(dtype)) != model_fingerprint(Tiny())


def test_one_bit_changes_it():
    changed = Tiny(torch.bfloat16)
    changed.body.data.view(torch.int16)[1, 2] ^= 1
    assert model_fingerprint(changed) != model_fingerprint(Tiny(torch.bfloat16))


def test_text():
    assert text_fingerprint("") == hashlib.blake2b(b"", digest_size=16).hexdigest()
    assert text_fingerprint("{{ a }}") != text_fingerprint("{{ b }}")


def test_what_parameters_do_not_tell_is_part_of_it():
    """Positions of the rotary embedding; alpha of an adapter, which starts as no change at all."""
    assert model_fingerprint(llama(rope_theta=500.0)) != model_fingerprint(llama(rope_theta=10000.0))
    bases = [llama() for _ in range(3)]
    adapted = [with_lora(base) for base in bases]
    for layer in adapted[2].modules():
        if isinstance(getattr(layer, "scaling", None), dict):
            layer.scaling = {name: 2 * value for name, value in layer.scaling.items()}
    one, same, other = map(model_fingerprint, adapted)
    assert one == same != other


def test_where_a_model_was_loaded_from_is_not():
    moved = llama()
    moved.config._name_or_path = "elsewhere"
    assert model_fingerprint(moved) == model_fingerprint(llama())
