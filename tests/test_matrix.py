"""Everything composes: each weighting x loss x trainer and each pair weighting x loss trains two steps with finite loss
and gradient, or is refused with a sentence. The registries say what there is: a plugin enters by being registered.

The default run takes a set that spans the product: each part with a few others, and each kind of need of a weighting
with each of a loss; what is left of the product is marked slow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import yaml
from _pytest.mark import ParameterSet
from engine_toy import bench, llama, move, policy, rows

from alignkit.asks.needs import Needs
from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import load_table
from alignkit.data.rows import TokenRow
from alignkit.data.unpairing import unpair
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.rollouts import Rollouts
from alignkit.engine.scoring import Scoring, tabulated
from alignkit.errors import RecipeError
from alignkit.loop.order import DataOrder
from alignkit.losses import losses
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference, frozen_copy
from alignkit.models.scorer import Scorer
from alignkit.pair_weighting import pair_weightings
from alignkit.recipe.load import load_recipe
from alignkit.recipe.recipe import Recipe
from alignkit.registry import Registry
from alignkit.rewards.judge import Judge
from alignkit.views import trainers
from alignkit.weighting import weightings

CONTRAST = "{name: %s, steps: 1, learning_rate: 0.001}"
PROMPTS = "{name: prompts, positive: 'a b', negative: 'c'}"
WEIGHTINGS: dict[str, str] = {
    **{name: f"{{name: {name}}}" for name in weightings.names()},
    "gradient log_ratio": "{name: gradient, target: log_ratio}",
    "gradient reference": "{name: gradient, model: reference}",
    "gradient smoothed": "{name: gradient, refresh_every: 2, smoothing: 0.5}",
    "gradient released": "{name: gradient, position: last_token, scope: full_sequence}",
    "tis": f"{{name: tis, contrast: {CONTRAST % 'dpo'}}}",
    "tis sft": f"{{name: tis, transform: clamp, contrast: {CONTRAST % 'sft'}}}",
    "tis prompts": f"{{name: tis, transform: threshold, contrast: {PROMPTS}}}",
    "influence": "{name: influence, prompts: 2}",
    "influence pmi": "{name: influence, form: pmi, prompts: 1}",
    "shuffled": "{name: shuffled, of: surprisal}",
    "contrastive": f"{{name: contrastive, contrast: {CONTRAST % 'sft'}}}",
    "contrastive prompts": f"{{name: contrastive, contrast: {PROMPTS}}}",
    "guide": f"{{name: guide, contrast: {CONTRAST % 'dpo'}}}",
    "guide prompts": f"{{name: guide, form: size, contrast: {PROMPTS}}}",
    "shared_length sample": "{name: shared_length, mode: sample}",
    "side column": "{name: side, rejected_column: trust}",
    "select step": "{name: select, per: step, of: {name: statistic, statistic: entropy}}",
}
"""Every weighting by its name, small where it costs something, and the options that change what is computed."""

PAIR_WEIGHTINGS = {name: f"{{name: {name}}}" for name in pair_weightings.names()}
PAIR_WEIGHTINGS["column"] = "{name: column, column: trust}"

LOSSES: dict[str, str] = {
    **{name: f"{{name: {name}}}" for name in losses.names()},
    "kl_off": "{name: kl_off}, dpo",  # which stands beside another
    "repo": "{name: repo, gamma: 9.0}",  # a margin that no pair has reached, or there would be no gradient
    "tis_dpo kl": "{name: tis_dpo, kl_alpha: 0.5}",
    "orpo full": "{name: orpo, nll_on: full}",
    "triplet": "{name: triplet, margin: 30.0, anchor: {name: sample_prompt, max_new_tokens: 4}}",
    "triplet teacher_forced": "{name: triplet, margin: 30.0, anchor: teacher_forced}",
}

RECIPE = """
model: {name: scratch, max_positions: 64}
data: {train: "builtin:world", max_length: 64}
losses: [dpo]
trainer: preference
training: {batch_size: 4, micro_batch_size: 2, learning_rate: 0.001}
"""

SAMPLING = {
    "sampler": "{name: generate, responses: 4, max_new_tokens: 8}",
    "rewards": "[{name: length, shape: target, target: 3}]",
    "advantage": "{name: group}",
}
"""What trainers take that draw responses; of an untrained model they differ in their length at least."""

REASONS = (
    " is a loss of ",
    ": contrast '",
    ", but trainer '",
    " weighs no loss, ",
    " samples ",
    " is 0 where every token weighs 1",
)
"""Parts of the sentences that may refuse a combination."""

OF_WEIGHTINGS = (": contrast '", ", but trainer '", " samples its responses; ", " samples other ")
"""Those that a token weighting may bring."""

OF_PAIRS = ("transport", "diff", "guide", "shared_length", "shared_length sample")
"""Weightings that compare the responses of a pair, or ask a contrast that is trained on pairs."""

COLUMNS = {"trust": 0.5, "score_chosen": 8.0, "score_rejected": 5.0}
"""Of each row; of other names that a component asks for, 0.5."""


def data(of: Recipe) -> list[TokenRow]:
    """Four rows with everything that a component may read of them."""
    trainer, columns = of.trainer.name, dict.fromkeys(of.needs().columns, 0.5) | COLUMNS
    random = torch.Generator().manual_seed(0)
    found = []
    for row in rows([(4, 6, 3), (2, 3, 5), (7, 4, 4), (3, 2, 2)]):
        weights = {name: torch.rand(len(ids), generator=random).numpy() for name, ids in row.responses.items()}
        critical = {name: numbers > 0.5 for name, numbers in weights.items()}
        found.append(replace(row, columns=columns, critical=critical, token_columns={"_weight": weights}))
    if trainer == "sft":
        return [replace(row, responses={"chosen": row.responses["chosen"]}) for row in found]
    if trainers.get(trainer).draws:
        return [replace(row, responses={}, token_columns={}, critical={}) for row in found]
    return unpair(found[:2]) if trainer == "unpaired" else found


class Words:
    """A tokenizer of letters, for the texts of the contrast by prompts."""

    eos_token_id, bos_token_id = 40, None

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 40 for letter in text]}

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(chr(64 + token) for token in ids)

    def save_pretrained(self, folder: Path) -> None:
        """A checkpoint of a short training on the side asks for it."""


@cache
def before_training() -> tuple[Policy, Reference]:
    """What nothing changes: the model as it was, and the reference."""
    start = replace(policy(llama()), tokenizer=Words())
    return start, frozen_copy(start)


@cache
def trained() -> Scorer:
    """The model after some training; to be copied."""
    return Scorer(move(llama(), seed=7), 4096).eval()


def prepared(of: Recipe, folder: Path) -> tuple[ObjectiveStep, list[TokenRow]]:
    """The step of a recipe on a toy model that has moved from its reference, as a run builds it."""
    train = data(of)
    needs = of.needs()
    if needs.gold:
        train = [replace(row, responses={**row.responses, "gold": row.responses["chosen"][::-1]}) for row in train]
    layout = "separate" if needs.full_sequence else "packed"
    start, live = before_training()
    start = replace(start, layout=layout)
    tools = replace(bench(start.model, train, folder, of), policy=start, reference=lambda: live)
    wanted = tabulated(needs) | (frozenset() if needs.live_reference else {ReferenceLogps()})
    tables = {values: load_table(values, train, tools) for values in sorted(wanted, key=repr)}
    moved = replace(start, scorer=deepcopy(trained()))
    reference: Reference | None = live if needs.live_reference else None
    scoring = Scoring(of.method(), moved, reference, tables, tools.accelerator.autocast)
    rollouts = Rollouts(scoring, of.sizes(), train, Judge(of.rewards)) if of.trainer.draws else None
    return ObjectiveStep(scoring, of.sizes(), rollouts), train


def train_two_steps(of: Recipe, folder: Path) -> Iterator[tuple[float, float]]:
    """(loss, gradient norm) of each."""
    step, train = prepared(of, folder)
    parameters = list(step.module.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    for number in range(2):
        coming = {ahead: DataOrder(train, 4, of.seed).batch(ahead) for ahead in range(number, number + step.lookahead)}
        batch = coming[number] = step.draw(number, coming[number]).rows
        step.prepare(number, batch, coming)
        total, half = 0.0, (len(batch) + 1) // 2
        for part in filter(None, (batch[:half], batch[half:])):
            loss, metrics = step.loss(part, number, step.totals(batch))
            loss.backward()
            total += loss.item()
            assert all(math.isfinite(value) for value, _ in metrics.values())
            if of.trainer.needs_advantage:  # with one update per drawing the policy is the one that sampled
                assert torch.equal(*metrics["ratio/mean"])
        yield total, float(torch.nn.utils.clip_grad_norm_(parameters, math.inf))
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on a model of 16 dimensions."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Token values are kept from one combination to the next, as they are from run to run."""
    path = tmp_path_factory.mktemp("matrix")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ALIGNKIT_CACHE", str(path / "cache"))
        yield path


def loaded(folder: Path, *overrides: str) -> Recipe | str:
    """The recipe, or what refused it."""
    (folder / "recipe.yaml").write_text(RECIPE)
    try:
        return load_recipe(folder / "recipe.yaml", overrides).recipe
    except RecipeError as error:
        return str(error)


def outcome(folder: Path, *overrides: str) -> str | list[tuple[float, float]]:
    """What refused the recipe, or what two steps gave."""
    of = loaded(folder, *overrides)
    if isinstance(of, str):
        return of
    with TemporaryDirectory(dir=folder) as side:
        return list(train_two_steps(of, Path(side)))


def trains(found: str | list[tuple[float, float]]) -> bool:
    """Two steps were trained, rightly; or nothing was, for a reason that is given."""
    if isinstance(found, str):
        assert any(reason in found for reason in REASONS), found
        return False
    assert len(found) == 2
    assert all(math.isfinite(loss) and math.isfinite(norm) and norm > 0 for loss, norm in found), found
    return True


def name_of(text: str) -> str:
    """`dpo` of `{name: dpo, ...}`."""
    return text.removeprefix("{name: ").split(",")[0].rstrip("}")


def fits(loss: str, trainer: str) -> bool:
    """Whether the loss sees what the trainer gives."""
    return losses.get(name_of(LOSSES[loss])).sees == trainers.get(trainer).gives


def taken(trainer: str) -> list[str]:
    """The settings that a trainer takes beside the losses."""
    cls = trainers.get(trainer)
    return [
        f"{key}={value}" for key, value in SAMPLING.items() if cls.draws and (key != "advantage" or cls.needs_advantage)
    ]


FITTING = [
    (trainer, loss)
    for trainer in trainers.names()
    for loss in LOSSES
    # Sampled pairs are pairs: one loss of them is enough here, and test_matrix_on_policy.py has the others.
    if fits(loss, trainer) and (trainer != "online_preference" or loss == "dpo")
]
OTHERS = [(trainer, loss) for trainer in trainers.names() for loss in LOSSES if not fits(loss, trainer)]

FIRST = {"preference": "dpo", "online_preference": "dpo", "unpaired": "kto", "sft": "sft"}
"""The loss of a trainer that every part meets in the default run; of others any."""

WIDEST = ("uniform", "hybrid")
"""Weightings that every loss meets in the default run: none at all, and one that varies and asks for gradients."""


def kind(registry: Registry, text: str) -> tuple[str, ...]:
    """What a component asks of the step, in words: those that ask for the same take the same way through it."""
    first, *_ = yaml.safe_load(f"[{text}]")
    part = registry.build(name_of(text), first)
    needs: Needs = part.all_needs() if registry is weightings else part.needs()
    asked = [field.name for field in fields(needs) if getattr(needs, field.name)]
    asked += [name for name in ("reference_logits", "live_reference") if getattr(needs, name)]
    return (*asked, *sorted(f"{a.target} {a.is_static} {a.is_remembered}" for a in needs.attributions))


KINDS = {
    **{("weighting", name): kind(weightings, text) for name, text in WEIGHTINGS.items()},
    **{("pairs", name): kind(pair_weightings, text) for name, text in PAIR_WEIGHTINGS.items()},
    **{("loss", name): kind(losses, text) for name, text in LOSSES.items()},
}


def spanned(slot: str, names: Iterable[str], widest: tuple[str, ...]) -> list[ParameterSet]:
    """The product of a slot with trainers and losses; slow are combinations of kinds that are met already."""
    met: set[tuple[object, ...]] = set()
    found = []
    for trainer, loss in FITTING:
        for name in names:
            kinds = (trainer, KINDS[slot, name], KINDS["loss", loss])
            is_default = name in widest or FIRST.get(trainer, loss) == loss or kinds not in met
            met.add(kinds)
            found.append(pytest.param(name, trainer, loss, marks=[] if is_default else [pytest.mark.slow]))
    return found


@pytest.mark.parametrize(("weighting", "trainer", "loss"), spanned("weighting", WEIGHTINGS, WIDEST))
def test_weighting_and_loss(weighting: str, trainer: str, loss: str, folder: Path) -> None:
    overrides = (f"weighting={WEIGHTINGS[weighting]}", f"losses=[{LOSSES[loss]}]", f"trainer={trainer}")
    found = outcome(folder, *overrides, *taken(trainer))
    if weighting == "uniform" and losses.get(name_of(LOSSES[loss])).reads_weights:
        assert " is 0 where every token weighs 1" in found
        return
    assert trains(found) or any(reason in found for reason in OF_WEIGHTINGS)


@pytest.mark.parametrize(("trainer", "loss"), OTHERS)
def test_a_loss_that_does_not_fit_the_trainer_is_refused(trainer: str, loss: str, folder: Path) -> None:
    found = outcome(folder, f"losses=[{LOSSES[loss]}]", f"trainer={trainer}", *taken(trainer))
    assert not trains(found) and " is a loss of " in found and "trainers that fit: " in found


@pytest.mark.parametrize(("pairs", "trainer", "loss"), spanned("pairs", PAIR_WEIGHTINGS, ("column",)))
def test_pair_weighting_and_loss(pairs: str, trainer: str, loss: str, folder: Path) -> None:
    overrides = (f"pair_weighting={PAIR_WEIGHTINGS[pairs]}", f"losses=[{LOSSES[loss]}]", f"trainer={trainer}")
    outside = losses.build(name_of(LOSSES[loss]), {})
    uneven = ("weighting=surprisal",) if outside.reads_weights else ()
    found = outcome(folder, *overrides, *uneven, *taken(trainer))
    weighs = pairs == "uniform" or getattr(outside, "pair_weighted", False)
    assert trains(found) is weighs or " samples its rows; " in found


def test_most_combinations_train(folder: Path) -> None:
    """Only weightings that need pairs or labels, or whose contrast does, are refused where a trainer gives none."""
    refused = {
        (weighting, trainer)
        for weighting, text in WEIGHTINGS.items()
        for trainer, loss in (("preference", "dpo"), ("unpaired", "kto"), ("sft", "sft"))
        if isinstance(loaded(folder, f"weighting={text}", f"losses=[{loss}]", f"trainer={trainer}"), str)
    }
    wanted = {("tis", "unpaired"), ("tis", "sft"), ("tis sft", "sft"), ("contrastive", "sft")}
    assert refused == wanted | {(name, trainer) for name in OF_PAIRS for trainer in ("unpaired", "sft")}
