"""Responses sampled from a run's model, and from the model that it started from under the same draws."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.chat import ChatTemplate
from alignkit.data.fields import Unusable, as_prompt, read_messages, read_text
from alignkit.data.files import read_file
from alignkit.data.formats import Example
from alignkit.data.raw import RawRow
from alignkit.data.readers import Prompt
from alignkit.data.rows import TokenRow
from alignkit.data.tokenising import Tokeniser
from alignkit.data.turns import turns_of
from alignkit.errors import DataError, ModelError, RunFolderError
from alignkit.evaluation.records import SAMPLES
from alignkit.lazy import torch
from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.models.lengths import limits
from alignkit.models.policy import build_policy
from alignkit.models.pretrained import Pretrained
from alignkit.models.scorer import causal_lm
from alignkit.recipe.recipe import Recipe
from alignkit.records.files import read_lines
from alignkit.records.fingerprints import model_fingerprint
from alignkit.seeds import derive
from alignkit.use.trained import DType, Trained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from alignkit.models.scorer import Model

HELD_OUT = 3
"""Prompts of a run's evaluation that are taken when none are given."""

TOGETHER = 32
"""Responses decoded at once."""


@dataclass(frozen=True)
class Decoding:
    """How responses are drawn.

    Attributes:
        draw: temperature and top-p.
        max_new_tokens: longest response; tokens.
        seed: with the numbers of prompt and response it decides every draw.
        number: responses to each prompt.
    """

    draw: Draw
    max_new_tokens: int
    seed: int
    number: int


@dataclass(frozen=True)
class Sampled:
    """One response to a prompt.

    Attributes:
        where: which prompt it is: `--prompt 1`, `file:line`, or the place of a held-out row.
        prompt: what the model was given, as text.
        response: what it said.
        reference: what the model said that it started from; None when that was not asked for.
    """

    where: str
    prompt: str
    response: str
    reference: str | None = None


@dataclass(frozen=True)
class Asked:
    """Prompts, each with its place; `is_ready` when they are to be tokenised as they are."""

    prompts: Sequence[tuple[str, Prompt]]
    is_ready: bool


def given_prompts(texts: Sequence[str], file: Path | None, *, is_raw: bool) -> Asked:
    """The prompts of the command line, then those of a file, its column `prompt`: text or messages.

    Raises:
        DataError: the file cannot be read, or a row holds no prompt.
    """
    found: list[tuple[str, Prompt]] = [(f"--prompt {number}", text) for number, text in enumerate(texts, start=1)]
    for row in read_file(file, ["prompt"], None) if file else ():
        try:
            if row.unread:
                raise Unusable(*row.unread)
            found.append((row.where, _prompt_of(row)))
        except Unusable as error:
            raise DataError(f"{row.where}: {error}") from None
    if not found and file:
        raise DataError(f"{file}: holds no prompts")
    return Asked(found, is_raw)


def _prompt_of(row: RawRow) -> Prompt:
    if isinstance(row.fields.get("prompt"), list):
        return as_prompt(read_messages(row.fields, "prompt"), "prompt")
    return read_text(row.fields, "prompt")


def held_out_prompts(trained: Trained) -> Asked:
    """The first prompts of the run's evaluation, as they were rendered then.

    Raises:
        RunFolderError: the run sampled none, or there is no run.
    """
    advice = "give prompts with --prompt or --prompts"
    if trained.run is None:
        raise RunFolderError(f"{trained.path}: a model without a run has no prompts of its own; {advice}")
    try:
        lines = read_lines(trained.run / SAMPLES)
        rows = {line["row"]: (str(line["where"]), str(line["prompt"])) for line in lines}
    except (OSError, ValueError, LookupError, TypeError):
        rows = {}
    if not rows:
        raise RunFolderError(f"{trained.run / SAMPLES}: holds no prompts of the evaluation; {advice}")
    return Asked([*rows.values()][:HELD_OUT], is_ready=True)


class Sampler:
    """Samples from one model after the other, with the same prompts and draws.

    Args:
        trained: the model to sample from.
        decoding: how.

    Attributes:
        notes: what the user should know, a line each.
    """

    def __init__(self, trained: Trained, decoding: Decoding) -> None:
        self.notes: list[str] = []
        self._trained = trained
        self._decoding = decoding
        self._recipe = trained.recipe()
        self._record = trained.record()
        self._device = torch.accelerator.current_accelerator() or torch.device("cpu")

    def sample(self, asked: Asked, *, reference: bool) -> list[Sampled]:
        """The responses, prompt by prompt.

        Args:
            asked: the prompts.
            reference: sample from the model that the run started from too.

        Raises:
            AlignkitError: a model cannot be loaded or sampled from, or a prompt cannot be rendered.
        """
        if reference and self._recipe is None:
            raise RunFolderError(f"{self._trained.path}: is no run, so --reference cannot know what it started from")
        model, tokenizer = self._trained.load(self._dtype())
        rows, end = self._rows(asked, tokenizer)
        responses = self._respond(model, tokenizer, rows, end)
        others: list[str] | list[None] = [None] * len(responses)
        if reference:
            del model
            gc.collect()  # two models may not fit beside each other
            assert self._recipe is not None
            others = self._respond(self._start(self._recipe, tokenizer), tokenizer, rows, end)
        each = [row for row in rows for _ in range(self._decoding.number)]
        return [
            Sampled(row.where, row.text["prompt"], response, other)
            for row, response, other in zip(each, responses, others, strict=True)
        ]

    def _dtype(self) -> DType:
        """The number format that an adapter's base had in training, and has in the reference."""
        model = self._recipe.model if self._recipe else None
        return model.dtype if isinstance(model, Pretrained) and self._trained.is_adapter else "auto"

    def _rows(self, asked: Asked, tokenizer: PreTrainedTokenizerBase) -> tuple[list[TokenRow], int]:
        """The prompts as training would tokenise them, and the token that ends a response."""
        is_chat = self._record.is_chat if self._record else None
        is_chat = bool(tokenizer.chat_template) if is_chat is None else is_chat
        examples = []
        for index, (where, prompt) in enumerate(asked.prompts):
            if isinstance(prompt, str) and is_chat and not asked.is_ready:
                try:
                    prompt = turns_of(prompt)
                except Unusable as error:
                    raise DataError(f"{where}: {error}") from None
            if isinstance(prompt, list) and (asked.is_ready or not is_chat):
                why = "--raw" if asked.is_ready else "this model, which continues plain text,"
                raise DataError(f"{where}: 'prompt' holds messages, and {why} takes text")
            examples.append(Example(RawRow(index, where, {}), prompt, {}))
        data = self._recipe.data if self._recipe else None
        separator = data.separator if data and not (is_chat or asked.is_ready) else ""
        tokeniser = Tokeniser(tokenizer, separator, typed_as=data.special_tokens_in_text if data else "as_text")
        rows = []
        for example, row in zip(examples, tokeniser.rows(examples), strict=True):
            if isinstance(row, Unusable):
                raise DataError(f"{example.row.where}: {row}")
            rows.append(row)
        end = ChatTemplate.of(tokenizer).end if is_chat else None
        return rows, int(tokenizer.eos_token_id) if end is None else end

    def _start(self, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Model:
        """The model that the run started from; a note when it is not the same any more."""
        policy = build_policy(recipe.model, tokenizer, seed=recipe.seed, separate=True, device=self._device)
        if self._record and self._record.fingerprints.get("model") != model_fingerprint(policy.model):
            self.notes.append("the reference is not the model that the run started from: its fingerprint is another")
        return policy.model

    def _respond(
        self, model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[TokenRow], end: int
    ) -> list[str]:
        decoding = self._decoding
        self._require_room(model, rows)
        torch.nn.Module.to(model, self._device)  # as training moves it; transformers' own refuses quantized models
        numbered = [(row, number) for row in rows for number in range(decoding.number)]
        texts: list[str] = []
        for start in range(0, len(numbered), TOGETHER):
            part = numbered[start : start + TOGETHER]
            found = sample(
                model,
                [row.prompt for row, _ in part],
                [derive(decoding.seed, "sample", row.index, number) for row, number in part],
                decoding.draw,
                max_new_tokens=decoding.max_new_tokens,
                eos_id=end,
            )
            texts += [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in found]
        return texts

    def _require_room(self, model: Model, rows: Sequence[TokenRow]) -> None:
        longest = max(rows, key=lambda row: len(row.prompt))
        tokens = len(longest.prompt) + self._decoding.max_new_tokens
        for limit, reason in limits(causal_lm(model)):
            if tokens > limit:
                raise ModelError(
                    f"{longest.where}: {len(longest.prompt)} + --max-new-tokens {self._decoding.max_new_tokens} are "
                    f"{tokens} tokens, but the model {reason} {limit}"
                )
