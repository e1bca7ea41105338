"""Parts that are fine alone but do not fit together; refused before any model loads, saying what would fit."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator

from alignkit.asks.needs import Needs
from alignkit.asks.planted import Planted
from alignkit.data.config import PARTS
from alignkit.data.naming import on_world, refuse_misplaced, sources_of
from alignkit.data.renaming import refuse_unread
from alignkit.data.sources import WORLD
from alignkit.errors import DataError, shown
from alignkit.losses import losses
from alignkit.models.base import ADAPTERS_DO_NOT_MIX
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.tree import Path
from alignkit.registry import Section
from alignkit.views import trainers
from alignkit.weighting.base import TokenWeighting

Misfit = tuple[Path, str]
"""Where, and what would fit."""


def misfits(recipe: Recipe) -> list[Misfit]:
    """Everything in `recipe` that cannot be honoured together."""
    found = [misfit for check in _CHECKS for misfit in check(recipe)]
    # What the parts need together is only defined once they agree on one anchor.
    return found or [*_reference(recipe), *_column_names(recipe)]


def _losses_fit_trainer(recipe: Recipe) -> Iterator[Misfit]:
    gives = recipe.trainer.gives
    for index, loss in enumerate(recipe.losses):
        if loss.sees != gives:
            fitting_losses = [name for name, cls in losses.classes().items() if cls.sees == gives]
            fitting_trainers = [name for name, cls in trainers.classes().items() if cls.gives == loss.sees]
            yield (
                ("losses", index, "name"),
                f"'{loss.name}' is a loss of {loss.sees}, but trainer '{recipe.trainer.name}' gives {gives}; "
                f"losses that fit: {', '.join(fitting_losses)}; trainers that fit: {', '.join(fitting_trainers)}",
            )


def _sampling(recipe: Recipe) -> Iterator[Misfit]:
    """A trainer that samples has what it takes, and no other one has it."""
    trainer = recipe.trainer
    samples = [name for name, cls in trainers.classes().items() if cls.draws]
    given = {"sampler": recipe.sampler, "rewards": recipe.rewards or None, "advantage": recipe.advantage}
    takes = {"sampler", "rewards"} if trainer.draws else set()
    takes |= {"advantage"} if trainer.needs_advantage else set()
    for key, value in given.items():
        if value is not None and key not in takes:
            fitting = [name for name in samples if key != "advantage" or trainers.get(name).needs_advantage]
            yield (
                (key,),
                f"trainer '{trainer.name}' has no use for it; leave it out, or take trainer {' or '.join(fitting)}",
            )
        elif value is None and key in takes:
            yield ("trainer",), f"'{trainer.name}' needs '{key}'; {_NEEDED[key]}"
    if recipe.rewards and not any(reward.weight for reward in recipe.rewards):
        yield ("rewards",), "each has weight 0, so nothing is rewarded; give at least one another 'weight'"
    titles = [reward.title for reward in recipe.rewards]
    for index, title in enumerate(titles):
        if title in titles[:index]:
            yield (
                ("rewards", index),
                f"'{title}' is what rewards.{titles.index(title)} is called already; give one of them another 'label'",
            )


_NEEDED = {
    "sampler": "such as {name: generate, responses: 8}",
    "rewards": "such as [{name: answer}]",
    "advantage": "such as {name: group}",
}


def _groups_to_compare(recipe: Recipe) -> Iterator[Misfit]:
    sampler, advantage = recipe.sampler, recipe.advantage
    if not recipe.trainer.draws or sampler is None:
        return
    compares = advantage.is_relative if advantage is not None else not recipe.trainer.needs_advantage
    if compares and sampler.responses == 1:
        what = f"advantage '{advantage.name}'" if advantage is not None else f"trainer '{recipe.trainer.name}'"
        yield (
            ("sampler", "responses"),
            f"{what} compares responses to one prompt, and a group of 1 has none; give at least 2",
        )
    cut = [key for key in ("top_k", "top_p") if getattr(sampler, key) not in (None, 1)]
    if recipe.trainer.needs_advantage and cut:
        yield (
            ("sampler", cut[0]),
            f"trainer '{recipe.trainer.name}' compares log-probs of the whole vocabulary, and with '{cut[0]}' "
            "responses are drawn from a part of it, so ratios would be wrong; leave it out",
        )
    if sampler.refill_rounds and not compares:
        yield ("sampler", "refill_rounds"), "no group is dropped where responses are not compared; leave it out"
    elif sampler.refill_rounds and sampler.dead_groups == "keep":
        yield ("sampler", "refill_rounds"), "no group is dropped with dead_groups 'keep'; leave out one of them"


def _known_before(recipe: Recipe) -> Iterator[Misfit]:
    """What is computed of the data's responses cannot be had of sampled ones."""
    if not recipe.trainer.draws:
        return
    needs, trainer = recipe.weighting.all_needs(), recipe.trainer.name
    rest = f"before training, and trainer '{trainer}' samples its responses; use another weighting"
    for values in sorted(needs.values, key=repr):
        yield ("weighting",), f"'{recipe.weighting.name}' needs {values.words}, known {rest}"
    for attribution in sorted(needs.attributions, key=repr):
        if attribution.is_static:
            yield ("weighting",), f"'{recipe.weighting.name}' needs importances under the reference, computed {rest}"
        elif attribution.is_remembered:
            message = f"'{recipe.weighting.name}' keeps a row's importances for its next visit, and trainer '{trainer}'"
            yield ("weighting",), f"{message} samples other responses then; leave out 'refresh_every' and 'smoothing'"
    parts: dict[Path, Needs] = {("pair_weighting",): recipe.pair_weighting.needs()}
    parts |= {("losses", index): loss.needs() for index, loss in enumerate(recipe.losses)}
    for place, one in parts.items():
        wanted = [*map(repr, sorted(one.columns)), *(["a gold response"] if one.gold else [])]
        wanted += sorted(values.words for values in one.row_values)
        if wanted:
            what = " and ".join(wanted)
            yield place, f"needs {what} of each row of the data, and trainer '{trainer}' samples its rows; use another"


def _losses_differ(recipe: Recipe) -> Iterator[Misfit]:
    names = [loss.name for loss in recipe.losses]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (
                ("losses", index, "name"),
                f"'{name}' is already losses.{names.index(name)}; give each loss once and weigh it by 'coefficient'",
            )


def _one_anchor(recipe: Recipe) -> Iterator[Misfit]:
    anchors = [(index, loss.needs().anchor) for index, loss in enumerate(recipe.losses)]
    wanted = [(index, anchor) for index, anchor in anchors if anchor is not None]
    for index, anchor in wanted[1:]:
        first = wanted[0]
        if anchor != first[1]:
            yield (
                ("losses", index),
                f"asks for another anchor than losses.{first[0]}, but one is sampled per pair; "
                "give both the same 'anchor'",
            )


def _pairs_to_weigh(recipe: Recipe) -> Iterator[Misfit]:
    weighting = recipe.pair_weighting
    if recipe.trainer.gives not in weighting.fits and not weighting.is_neutral:
        yield (
            ("pair_weighting", "name"),
            f"'{recipe.pair_weighting.name}' weighs pairs, but trainer '{recipe.trainer.name}' gives "
            f"{recipe.trainer.gives}; use 'uniform' or a trainer that gives pairs",
        )
    elif not weighting.is_neutral and not any(loss.takes_pair_weight for loss in recipe.losses):
        yield (
            ("pair_weighting", "name"),
            f"'{recipe.pair_weighting.name}' weighs no loss, as each has 'pair_weighted: false'; set it to true, add a "
            "loss, or use 'uniform'",
        )


def _weights_to_read(recipe: Recipe) -> Iterator[Misfit]:
    for index, loss in enumerate(recipe.losses):
        if loss.reads_weights and recipe.weighting.is_neutral:
            yield (
                ("losses", index),
                f"'{loss.name}' is 0 where every token weighs 1, and weighting '{recipe.weighting.name}' gives all of "
                "them 1; use another weighting, or leave it out",
            )


def _layout(recipe: Recipe) -> Iterator[Misfit]:
    layout = recipe.model.layout
    if layout in ("packed", "shared") and recipe.weighting.all_needs().full_sequence:
        yield (
            ("model", "layout"),
            f"'{layout}' computes a prompt once for both responses, but weighting.scope 'full_sequence' needs it once "
            "for each; use layout 'auto' or 'separate', or scope 'response'",
        )


def _pieces(recipe: Recipe) -> Iterator[Misfit]:
    if recipe.parallel.strategy != "fsdp":
        return
    if recipe.training.optimizer == "adamw_8bit":
        yield (
            ("training", "optimizer"),
            "'adamw_8bit' cannot be cut into pieces, as its scales are of whole tensors; give 'adamw', or "
            "parallel.strategy 'ddp'",
        )
    if quantize := getattr(recipe.model, "quantize", None):
        yield (
            ("model", "quantize"),
            f"weights in '{quantize}' cannot be cut into pieces; leave it out, or give parallel.strategy 'ddp'",
        )


def _prompt_tokens(recipe: Recipe) -> Iterator[Misfit]:
    if recipe.weighting.scope != "full_sequence":
        return
    for part in _with_parts(recipe.weighting):
        if not part.knows_prompt:
            yield (
                ("weighting", "scope"),
                f"'full_sequence' needs importances of prompt tokens, and '{part.name}' has none; use scope 'response'",
            )


def _with_parts(weighting: TokenWeighting) -> Iterator[TokenWeighting]:
    """The weighting and those inside it."""
    yield weighting
    for _, value in weighting:
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, TokenWeighting):
                yield from _with_parts(part)


def _adapter_to_switch_off(recipe: Recipe) -> Iterator[Misfit]:
    # A pretrained folder may turn out to be an adapter itself; that is seen when it is loaded.
    model = recipe.model
    if model.reference == "adapter_off" and model.adapter is None and not model.may_be_adapter:
        yield (
            ("model", "reference"),
            "'adapter_off' needs an adapter; give model.adapter, or use 'auto'",
        )


def _planted(recipe: Recipe) -> Iterator[Misfit]:
    if not any(isinstance(values, Planted) for values in recipe.weighting.all_needs().values):
        return
    try:
        sources = sources_of(recipe.data)
    except DataError:  # said by `_data_options`
        return
    for named in sources:
        if not named.source.plants:
            yield (
                ("weighting",),
                f"'oracle' knows the planted tokens of {WORLD} only, but {named.place} is {named.source.label}; use "
                "another weighting",
            )
            return


def _true_reward(recipe: Recipe) -> Iterator[Misfit]:
    for index, reward in enumerate(recipe.rewards):
        if reward.name == "world" and not on_world(recipe.data):
            yield ("rewards", index), f"'world' knows what is right in {WORLD} only; use other rewards"


def _token_values(recipe: Recipe) -> Iterator[Misfit]:
    needs = recipe.weighting.all_needs()
    before = () if recipe.trainer.draws else needs.values  # of the others `_known_before` says it
    for values in sorted((*before, *needs.readings), key=repr):
        if refusal := values.refusal(recipe.trainer.name, recipe.trainer.gives):
            yield ("weighting",), refusal


def _measures(recipe: Recipe) -> Iterator[Misfit]:
    """Each name and each value once, and only where there is something to measure."""
    is_world = on_world(recipe.data)
    owners: dict[str, int] = {}
    for index, measure in enumerate(recipe.evaluation.measures or ()):
        place = ("evaluation", "measures", index)
        given = next((value.name for value in measure.values if value.name in owners), None)
        if given is not None:
            yield (
                place,
                f"'{measure.name}' gives '{given}', as evaluation.measures.{owners[given]} does; list one of them",
            )
        elif recipe.trainer.draws and measure.looks_at == "rows":
            yield (
                place,
                f"'{measure.name}' looks at responses of the data, and trainer '{recipe.trainer.name}' reads none",
            )
        elif misfit := measure.misfit(recipe.trainer.gives, on_world=is_world):
            yield place, misfit
        owners |= {value.name: index for value in measure.values if value.name not in owners}


def _benchmarks(recipe: Recipe) -> Iterator[Misfit]:
    titles = [benchmark.title for benchmark in recipe.evaluation.benchmarks]
    for index, title in enumerate(titles):
        if title in titles[:index]:
            yield (
                ("evaluation", "benchmarks", index),
                f"'{title}' is what evaluation.benchmarks.{titles.index(title)} is called already; give one of them "
                "another 'label'",
            )


def _mismatched(recipe: Recipe) -> Iterator[Misfit]:
    for index, loss in enumerate(recipe.losses):
        if loss.needs().mismatched and recipe.training.batch_size == 1:
            yield (
                ("training", "batch_size"),
                f"losses.{index}, '{loss.name}', compares with the other responses of the optimizer step, so a batch "
                "of 1 has nothing to compare with; give at least 2",
            )


def _positions(recipe: Recipe) -> Iterator[Misfit]:
    positions = recipe.model.positions
    if positions is not None and positions < recipe.data.max_length:
        yield (
            ("data", "max_length"),
            f"{recipe.data.max_length} tokens are more than model.max_positions, {positions}; "
            "lower the one or raise the other",
        )


def _data_options(recipe: Recipe) -> Iterator[Misfit]:
    try:
        refuse_misplaced(recipe.data)
    except DataError as error:
        yield _placed(error)


def _placed(error: DataError) -> Misfit:
    key, _, message = str(error).partition(": ")
    return tuple(int(step) if step.isdigit() else step for step in key.split(".")), message


def _turns(recipe: Recipe) -> Iterator[Misfit]:
    if recipe.data.train_on == "all_turns" and recipe.trainer.responses != ("chosen",):
        fitting = [name for name, cls in trainers.classes().items() if cls.responses == ("chosen",)]
        read = ", ".join(recipe.trainer.responses) or "prompts alone"
        yield (
            ("data", "train_on"),
            f"'all_turns' is for single responses, but trainer '{recipe.trainer.name}' reads {read}; take 'last_turn' "
            f"or trainer {' or '.join(map(repr, fitting))}",
        )


def _names(recipe: Recipe) -> Iterator[Misfit]:
    keys = {
        "data": ("train", "eval", "split", "eval_split", "subset"),
        "model": ("path", "gguf_file", "tokenizer", "revision", "chat_template"),
    }
    for section, names in keys.items():
        for key in names:
            for path, name in _texts_in(getattr(getattr(recipe, section), key, None), (section, key)):
                # Messages of other libraries repeat names as they are, over several lines if they hold line ends.
                if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
                    yield path, f"a name holds no line ends or control characters, got {shown(name)}"


def _texts_in(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, tuple | Section):
        for step, inner in enumerate(value) if isinstance(value, tuple) else value:
            yield from _texts_in(inner, (*path, step))


def _reference(recipe: Recipe) -> Iterator[Misfit]:
    if recipe.model.reference_update is not None:
        yield from _moving_reference(recipe)
    elif recipe.model.reference == "cache":
        yield from _cached_reference(recipe)


def _moving_reference(recipe: Recipe) -> Iterator[Misfit]:
    model = recipe.model
    if not recipe.needs().reference:
        yield (
            ("model", "reference_update"),
            "nothing in this recipe reads a reference; leave it out, or add a loss that compares with one, such as "
            "'dpo'",
        )
    elif model.adapter is not None:
        yield ("model", "reference_update"), ADAPTERS_DO_NOT_MIX
    elif model.reference not in ("auto", "copy"):
        yield (
            ("model", "reference"),
            f"'{model.reference}' holds a reference that stays, and model.reference_update moves it; use 'auto' or "
            "'copy'",
        )


def _cached_reference(recipe: Recipe) -> Iterator[Misfit]:
    if recipe.trainer.draws and recipe.needs().reference:
        yield (
            ("model", "reference"),
            "'cache' holds the reference's log-probs of the data's responses only, but trainer "
            f"'{recipe.trainer.name}' samples others; use 'auto' or 'copy'",
        )
    parts = {
        f"weighting '{recipe.weighting.name}'": recipe.weighting.all_needs(),
        f"pair_weighting '{recipe.pair_weighting.name}'": recipe.pair_weighting.needs(),
        **{f"loss '{loss.name}'": loss.needs() for loss in recipe.losses},
    }
    for part, needs in parts.items():
        if beyond := _beyond_a_cache(needs):
            yield (
                ("model", "reference"),
                f"'cache' holds the reference's log-probs of the data's responses only, but {part} needs {beyond}; "
                "use 'auto' or 'copy'",
            )


def _column_names(recipe: Recipe) -> Iterator[Misfit]:
    read = recipe.wanted().all_columns
    given = {"data.columns": recipe.data.columns}
    for part in PARTS:
        own = {f"data.{part}.{number}.columns": share.columns for number, share in enumerate(recipe.data.shares(part))}
        given |= {place: names for place, names in own.items() if names is not None}
    for place, names in given.items():
        try:
            refuse_unread(names, read, place)
        except DataError as error:
            yield _placed(error)


def _beyond_a_cache(needs: Needs) -> str | None:
    """What a part asks of the reference that cannot be looked up."""
    if needs.reference_logits:
        return "its whole distribution"
    if needs.anchor is not None:
        return "its scores of sampled anchors"
    if needs.mismatched:
        return "its scores of mismatched responses"
    return "its gradients" if needs.live_reference else None


_CHECKS: tuple[Callable[[Recipe], Iterator[Misfit]], ...] = (
    _losses_fit_trainer,
    _sampling,
    _groups_to_compare,
    _known_before,
    _losses_differ,
    _one_anchor,
    _pairs_to_weigh,
    _weights_to_read,
    _layout,
    _pieces,
    _prompt_tokens,
    _adapter_to_switch_off,
    _planted,
    _true_reward,
    _token_values,
    _measures,
    _benchmarks,
    _mismatched,
    _positions,
    _turns,
    _names,
    _data_options,
)
