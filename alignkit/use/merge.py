"""An adapter merged into the model that it was trained on: a model that needs neither peft nor the base."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.errors import ModelError, RunFolderError, shown
from alignkit.lazy import huggingface_hub, peft, torch
from alignkit.models.loading import loading
from alignkit.models.scorer import causal_lm
from alignkit.models.weights import ADAPTER
from alignkit.records.files import one_line, staged
from alignkit.use.trained import DType, Trained

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from alignkit.models.scorer import Model

PROBE = (4, 16)
"""Rows and tokens of the made-up text on which both models must agree."""

EXACT, ROUNDED = 1e-4, 1 / 32
"""What rounding may do to a logit in float32 and in 16 bits, as a part of the largest one."""


@dataclass(frozen=True)
class Merged:
    """A merged model and how near it is to what it was merged from.

    Attributes:
        folder: where it is.
        dtype: number format of its weights, in words.
        difference: largest difference of a logit between merged and adapter model on the probe.
        moved: largest difference of a logit that the adapter makes to its base there.
        tolerance: what rounding in this number format explains.
    """

    folder: Path
    dtype: str
    difference: float
    moved: float
    tolerance: float

    def __str__(self) -> str:
        rows, tokens = PROBE
        return (
            f"merged in {self.dtype}; on {rows} x {tokens} made-up tokens its logits differ from the adapter model's "
            f"by at most {self.difference:.2g} (allowed: {self.tolerance:.2g}), while the adapter moves them by up to "
            f"{self.moved:.2g}"
        )


def merge(given: str, output: Path, dtype: DType = "auto") -> Merged:
    """Merges an adapter into its base and writes the model, whole or not at all.

    Args:
        given: a run folder, or an adapter as a folder or Hub id.
        output: the folder that is made.
        dtype: number format to merge in; auto is the base's.

    Raises:
        RunFolderError: the run is not finished, or `output` is there already or cannot be written.
        ModelError: there is no adapter, or the merged model says something else than the adapter.
    """
    trained = Trained.of(given)
    if output.exists() or output.is_symlink():
        raise RunFolderError(f"--output {shown(str(output))}: is there already; name a folder that does not exist yet")
    trained.require_finished()
    if not trained.is_adapter:
        raise ModelError(f"{trained.path}: is no adapter, so there is nothing to merge; use it as it is")
    adapted, tokenizer = trained.load(dtype)
    assert isinstance(adapted, peft.PeftModel)
    base = adapted.peft_config["default"].base_model_name_or_path
    if getattr(causal_lm(adapted).config, "quantization_config", None) is not None:
        raise ModelError(f"{trained.path}: its base {base} is quantized, and merging would round the adapter away")
    model, difference, moved, largest = _merged(adapted)
    tolerance = largest * (EXACT if model.dtype == torch.float32 else ROUNDED)
    merged = Merged(output, str(model.dtype).removeprefix("torch."), difference, moved, tolerance)
    if not merged.difference <= merged.tolerance:
        advice = "" if model.dtype == torch.float32 else "; `alignkit merge --dtype float32` keeps the adapter whole"
        raise ModelError(f"{trained.path}: {merged}; nothing was written{advice}")
    card = _card(trained, str(base), merged)
    with one_line(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    with staged(output) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        (staging / "README.md").write_text(card, encoding="utf-8")
    return merged


def _merged(adapted: peft.PeftModel) -> tuple[PreTrainedModel, float, float, float]:
    """The merged model; how far it is from the adapter, how far the adapter is from its base, the largest logit."""
    said = _logits(adapted)
    with adapted.disable_adapter():
        of_base = _logits(adapted)
    with loading("the adapter cannot be merged"):
        model: PreTrainedModel = adapted.merge_and_unload(safe_merge=True, adapter_names=["default"])
    return model, _largest(_logits(model) - said), _largest(of_base - said), _largest(said)


@torch.no_grad()
def _logits(model: Model) -> Tensor:
    """[X, L, V] of made-up tokens, the same for every model of this vocabulary."""
    size = int(causal_lm(model).config.get_text_config().vocab_size)
    ids_XL = torch.arange(PROBE[0] * PROBE[1]).view(PROBE) * 7919 % size
    logits_XLV: Tensor = model(input_ids=ids_XL, use_cache=False).logits
    return logits_XLV.float()


def _largest(values_XLV: Tensor) -> float:
    """NaN where there is one, which no bound admits."""
    return float(values_XLV.abs().max())


# --- the card ---


def _card(trained: Trained, base: str, merged: Merged) -> str:
    """What it was merged from, and then what the run says of the adapter."""
    digest = ""
    weights = Path(trained.path) / ADAPTER
    if weights.is_file():
        with weights.open("rb") as file:
            digest = f" ({ADAPTER} sha256 `{hashlib.file_digest(file, 'sha256').hexdigest()}`)"
    whose = "of the run " if trained.run else ""
    of_base = f"the model in a folder called `{Path(base).name}`" if Path(base).is_dir() else f"`{base}`"
    data, rest = _of_run(trained)
    return "\n".join(
        [
            "---",
            str(data),
            "---",
            "",
            f"# {trained.name}, merged",
            "",
            f"The adapter {whose}`{trained.name}`{digest}, merged by alignkit into {of_base}; {merged}.",
            "",
            *rest,
        ]
    )


def _of_run(trained: Trained) -> tuple[huggingface_hub.ModelCardData, list[str]]:
    """The metadata of a merged model, and the adapter's own card where alignkit wrote it."""
    tags, options, rest = ["alignkit"], {}, []
    file = Path(trained.path) / "README.md"
    if trained.run is not None and file.is_file():
        with loading(f"{file} is no model card"):
            card = huggingface_hub.ModelCard(file.read_text(encoding="utf-8"))
        tags = [tag for tag in card.data.get("tags", tags) if tag != "lora"]
        options = {"base_model": base} if (base := card.data.get("base_model")) else {}
        rest = ["The rest is the adapter's card.", "", card.text.strip(), ""]
    data = huggingface_hub.ModelCardData(
        library_name="transformers", pipeline_tag="text-generation", tags=tags, **options
    )
    return data, rest
