"""The module that is trained: token ids in, log-probs of the response tokens out.

It runs the decoder once, keeps the input embeddings for attribution, and applies the LM head to the positions that
predict a response token only. The loop wraps it (DDP, FSDP2); nothing calls the model's parameters beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from alignkit.errors import ModelError
from alignkit.lazy import peft, torch, transformers
from alignkit.models.attended import Shares, among_responses, is_watched, note, watched
from alignkit.models.attention import NAME, Pass, let_pack
from alignkit.models.attribution import Attribution
from alignkit.models.head import Draw, Head, HeadTransform, Predictions, token_logps
from alignkit.models.layout import Batch
from alignkit.models.readings import Reading, States
from alignkit.models.statistics import Statistic

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    Model = PreTrainedModel | peft.PeftModel


@dataclass(frozen=True)
class Want:
    """What a forward pass should return beside the log-probs.

    Attributes:
        attributions: targets whose gradient by the embeddings will be taken.
        statistics: what the vocabulary is reduced to at each response token.
        reference: predictions of the reference at the batch's response tokens, for statistics that read it.
        draw: how to draw a token at every position of the first response (a teacher-forced anchor), or None.
        uniform_BT: [B, T] in [0, 1), the randomness of that draw.
        predictions: also return this model's predictions, for another model's statistics.
        prompt: also the log-probs of the prompt tokens.
        temperature: divides all logits; of what is sampled at it and trained by a policy gradient.
        readings: what hidden states and attention are asked at each response token.
        num_read: how many responses of each example they are asked of, from the first; None for all.
    """

    attributions: frozenset[Attribution] = frozenset()
    statistics: frozenset[Statistic] = frozenset()
    reference: Predictions | None = None
    draw: Draw | None = None
    uniform_BT: Tensor | None = None
    predictions: bool = False
    prompt: bool = False
    temperature: float = 1.0
    readings: frozenset[Reading] = frozenset()
    num_read: int | None = None


@dataclass(frozen=True)
class Scored:
    """What a forward pass returns; log-probs in nats, float32, 0 off the mask.

    Attributes:
        logp_BRT: [B, R, T] log-probs of the response tokens.
        statistics: statistic -> [B, R, T] its value at each response token, 0 off the mask.
        targets: attribution -> [B, R] scalar whose gradient is the importance.
        embeddings_XLD: [X, L, D] input embeddings the targets are differentiated by, or None: those of the decoder's
            last pass, so without the prompts of a packed row.
        drawn_BT: [B, T] tokens drawn at the positions that predict the first response, or None.
        drawn_logp_BT: [B, T] their log-probs, or None.
        predictions: of the response tokens, without gradient, or None.
        prompt_BP: [B, P] log-probs of the prompt tokens but the first, 0 elsewhere, or None.
        readings: reading -> [B, R, T] its value at each token of the responses that were asked, 0 off the mask.
    """

    logp_BRT: Tensor
    statistics: Mapping[Statistic, Tensor]
    targets: dict[Attribution, Tensor]
    embeddings_XLD: Tensor | None
    drawn_BT: Tensor | None
    drawn_logp_BT: Tensor | None
    predictions: Predictions | None
    prompt_BP: Tensor | None
    readings: Mapping[Reading, Tensor]


def causal_lm(model: Model) -> PreTrainedModel:
    """The transformers model inside a peft wrapper, adapters still in place."""
    return cast("PreTrainedModel", model.get_base_model() if isinstance(model, peft.PeftModel) else model)


def decoder(model: Model) -> nn.Module:
    """The module from embeddings to the last hidden states."""
    language_model = causal_lm(model)
    found = language_model.get_decoder()
    if isinstance(found, transformers.PreTrainedModel) and found is not language_model:
        return found
    return cast("nn.Module", language_model.model)  # what `get_decoder` misses in Llama 4


def _latest(seen: Sequence[Shares], model: PreTrainedModel) -> Shares:
    """What the last layer attended to.

    Raises:
        ModelError: nobody says.
    """
    if seen:
        return seen[0]
    kernel, kind = model.config._attn_implementation, model.config.model_type
    if kernel in ("sdpa", "eager", NAME):
        how = "use another weighting" if kernel == "eager" else "try attn_implementation 'eager', or another weighting"
        raise ModelError(f"model: what the last layer of {kind} attends to cannot be read; {how}")
    raise ModelError(
        f"model.attn_implementation: '{kernel}' does not say what the last layer attends to; use 'sdpa' or 'eager'"
    )


class Scorer(torch.nn.Module):
    """Scores response tokens under one model.

    Args:
        model: a causal LM of transformers, with or without a peft adapter.
        head_chunk: response tokens whose logits exist at once.
        transform: what the model does around its LM head.
    """

    def __init__(self, model: Model, head_chunk: int, transform: HeadTransform | None = None) -> None:
        super().__init__()
        self.model = model
        self.head_chunk = head_chunk
        self.transform = transform or HeadTransform()

    @property
    def head(self) -> Head:
        """From hidden states to float32 logits, D -> V."""
        return Head(causal_lm(self.model).get_output_embeddings(), self.transform)

    def forward(self, batch: Batch, want: Want) -> Scored:
        """Log-probs of the batch's response tokens, and what else is wanted."""
        *earlier, last_XLD = batch.passes(causal_lm(self.model).get_input_embeddings()(batch.ids_XL))
        if want.attributions and not last_XLD.requires_grad:
            last_XLD = last_XLD.detach().requires_grad_()  # a frozen embedding (LoRA, reference)
        last_XLD = last_XLD.view_as(last_XLD)  # a node of its own: the one that splits leads to the earlier pass too
        # A copy where gradients are taken: some decoders (CTRL) scale their input in place.
        embeddings = [*earlier, last_XLD.clone() if want.attributions else last_XLD]
        hidden_XLD, attention_BRTT = self._looked_at(batch, embeddings, want)
        predictions = replace(self._predictions(hidden_XLD, batch.packed.predictor_N), temperature=want.temperature)
        # Sorted, so that the order of the sums in a backward pass does not hang on that of a set.
        statistics = sorted(want.statistics, key=repr)
        logp_N, found = token_logps(predictions, batch.packed.ids_N, self.head_chunk, statistics, want.reference)
        logp_BRT = batch.packed.unpack(logp_N)
        drawn_BT, drawn_logp_BT = self._drawn(hidden_XLD, batch, want)
        return Scored(
            logp_BRT=logp_BRT,
            statistics={statistic: batch.packed.unpack(value_N) for statistic, value_N in found.items()},
            targets={a: self._target(a, hidden_XLD, logp_BRT, batch) for a in want.attributions},
            embeddings_XLD=last_XLD if want.attributions else None,
            drawn_BT=drawn_BT,
            drawn_logp_BT=drawn_logp_BT,
            predictions=replace(predictions, hidden_ND=predictions.hidden_ND.detach()) if want.predictions else None,
            prompt_BP=self._prompt(hidden_XLD, batch) if want.prompt else None,
            readings=self._readings(want, batch, predictions.hidden_ND, attention_BRTT),
        )

    def hidden(self, batch: Batch, embeddings_XLD: Tensor) -> Tensor:
        """[X, L, D] last hidden states."""
        return self._hidden(batch, batch.passes(embeddings_XLD))

    def _looked_at(self, batch: Batch, embeddings: Sequence[Tensor], want: Want) -> tuple[Tensor, Tensor | None]:
        """[X, L, D] last hidden states; and [B, R, T, T] what the last layer attended to, where a reading asks."""
        if not any(reading.reads_attention for reading in want.readings):
            return self._hidden(batch, embeddings), None
        model = causal_lm(self.model)
        if model.config._attn_implementation == "sdpa":
            let_pack(model)  # the same kernel, called by us
        with watched() as seen:
            hidden_XLD = self._hidden(batch, embeddings)
        return hidden_XLD, among_responses(_latest(seen, model)(), batch)

    @torch.no_grad()
    def _readings(
        self, want: Want, batch: Batch, hidden_ND: Tensor, attention_BRTT: Tensor | None
    ) -> dict[Reading, Tensor]:
        if not want.readings:
            return {}
        states = States(batch, hidden_ND.detach(), attention_BRTT, want.num_read)
        with torch.autocast(hidden_ND.device.type, enabled=False):
            return {
                reading: reading.read(states).masked_fill(~states.mask_BRT, 0.0)
                for reading in sorted(want.readings, key=repr)
            }

    def _hidden(self, batch: Batch, embeddings: Sequence[Tensor]) -> Tensor:
        """[X, L, D] last hidden states, of the embeddings of each pass."""
        if batch.packing is not None:
            return self.packed_hidden(batch, embeddings, Pass(batch.packing.prompts))
        (embeddings_XLD,) = embeddings
        mask = self._attention(batch, embeddings_XLD)
        return self._decode(embeddings_XLD, batch.ids_XL, batch.positions_XL, mask)

    def packed_hidden(self, batch: Batch, embeddings: Sequence[Tensor], first: Pass) -> Tensor:
        """[1, N, D] last hidden states of a packed row, of the embeddings of its two passes."""
        assert batch.packing is not None
        let_pack(causal_lm(self.model))
        inputs = zip(embeddings, batch.passes(batch.ids_XL), batch.passes(batch.positions_XL), strict=True)
        of_prompts, of_responses = ((*each, batch.attention) for each in inputs)
        hidden_1PD = self._decode(*of_prompts, packed_pass=first)
        second = first.then(batch.packing.responses)
        return torch.cat([hidden_1PD, self._decode(*of_responses, packed_pass=second)], dim=1)

    def _decode(
        self, embeddings_XLD: Tensor, ids_XL: Tensor, positions_XL: Tensor, mask: Tensor, **extra: Pass
    ) -> Tensor:
        inner, more = cast("Any", decoder(self.model)), dict[str, Any](extra)
        is_told = is_watched() and causal_lm(self.model).config._attn_implementation == "eager"
        if is_told:
            more["output_attentions"] = True
        if getattr(inner, "hidden_size_per_layer_input", None):  # Gemma 3n and 4 look tokens up in every layer again
            more["per_layer_inputs"] = inner.get_per_layer_inputs(ids_XL)
        found = inner(
            inputs_embeds=embeddings_XLD, attention_mask=mask, position_ids=positions_XL, use_cache=False, **more
        )
        told = getattr(found, "attentions", None) if is_told else None
        if layers := [layer for layer in told or () if layer is not None]:
            note(lambda: [layers[-1].detach().float().mean(1)])
        hidden_XLD: Tensor = found.last_hidden_state
        return hidden_XLD

    def _prompt(self, hidden_XLD: Tensor, batch: Batch) -> Tensor:
        """[B, P] log-probs of the prompt tokens but the first."""
        predictions = self._predictions(hidden_XLD, batch.prompt.predictor_N)
        return batch.prompt.unpack(token_logps(predictions, batch.prompt.ids_N, self.head_chunk)[0])

    def _predictions(self, hidden_XLD: Tensor, index_N: Tensor) -> Predictions:
        """Predictions at positions of the flattened [X, L]."""
        # A position may be read several times (the end of a shared prompt predicts every response). The backward pass
        # of plain indexing adds such gradients in whatever order its threads meet them; an embedding's does not.
        return Predictions(torch.nn.functional.embedding(index_N, hidden_XLD.flatten(0, 1)), self.head)

    def _attention(self, batch: Batch, embeddings_XLD: Tensor) -> Tensor:
        """The mask as the attention implementation takes it: eager adds it, all others select by it."""
        if batch.attention.dim() == 2 or causal_lm(self.model).config._attn_implementation != "eager":
            return batch.attention
        lowest = torch.finfo(embeddings_XLD.dtype).min
        return torch.zeros_like(batch.attention, dtype=embeddings_XLD.dtype).masked_fill(~batch.attention, lowest)

    def _target(self, attribution: Attribution, hidden_XLD: Tensor, logp_BRT: Tensor, batch: Batch) -> Tensor:
        """[B, R] the scalar of each response that `attribution` differentiates."""
        if attribution.target in ("response_nll", "log_ratio"):  # of a log-ratio, this model's half
            return -logp_BRT.sum(-1)
        last_BR1 = batch.last_BR[..., None]
        place_BRT = batch.predictor_BRT if attribution.position == "predict_last" else batch.place_BRT
        row_M, place_M = (index.gather(-1, last_BR1).flatten() for index in (batch.row_BRT, place_BRT))
        logits_MV = self._predictions(hidden_XLD, row_M * hidden_XLD.shape[1] + place_M).logits()
        if attribution.target == "max_logit":
            return logits_MV.amax(-1).view(last_BR1.shape[:2])
        gold_M1 = batch.ids_BRT.gather(-1, last_BR1).view(-1, 1)
        return logits_MV.gather(-1, gold_M1).view(last_BR1.shape[:2])

    def _drawn(self, hidden_XLD: Tensor, batch: Batch, want: Want) -> tuple[Tensor | None, Tensor | None]:
        """Tokens drawn at the positions that predict the first response, and their log-probs."""
        if want.draw is None or want.uniform_BT is None:
            return None, None
        predictions = self._predictions(hidden_XLD, batch.first.predictor_N)
        drawn_N = self._draw(predictions, want.draw, batch.first.pack(want.uniform_BT))
        logp_N, _ = token_logps(predictions, drawn_N, self.head_chunk)
        return batch.first.unpack(drawn_N), batch.first.unpack(logp_N)

    @torch.no_grad()
    def _draw(self, predictions: Predictions, draw: Draw, uniform_N: Tensor) -> Tensor:
        steps = range(0, len(uniform_N), self.head_chunk)
        chunks = [(start, start + self.head_chunk) for start in steps]
        return torch.cat([draw(predictions.logits(a, b), uniform_N[a:b]) for a, b in chunks])
