"""Writes docs/methods.md: python docs/build_methods.py > docs/methods.md

Formula, paper, needs and defaults come from the components; recipes, proof and departures from methods.yaml beside this
file. tests/test_methods_page.py fails when the page is not what this prints.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from alignkit.losses.base import Loss
from alignkit.recipe import describe
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.load import load_recipe
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.render import scalar
from alignkit.registry import Component, Section
from alignkit.rollouts.groups import Sampler
from alignkit.weighting.base import TokenWeighting

DOCS = Path(__file__).parent
FACTS: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((DOCS / "methods.yaml").read_text())

HEAD = """\
<!-- Generated. Edit the components or docs/methods.yaml, then: python docs/build_methods.py > docs/methods.md -->

# Methods

Every method that alignkit has: its formula, where it comes from, how to run it, what it asks for, and why we believe
that it is right. `alignkit describe loss dpo` says the same of one component, with types and ranges.

## Names that collide

- **cDPO** is two methods. Conservative DPO, DPO with label smoothing, is `{name: dpo, label_smoothing: 0.1}`.
  Critical-token DPO (Lin et al., arXiv:2411.19943) is loss and recipe `cdpo`; it is what the TI-DPO paper means.
- **CPO** is two methods. Loss `cpo` is that of Xu et al. (arXiv:2401.08417), which TRL has too. The TI-DPO paper
  cites Feng et al. (arXiv:2502.16433, synthetic negatives), whose exact loss is **unverified** and is not here.
- **alpha** is three things. The TI-DPO paper uses it for the triplet's margin (Eq. 13 and Alg. 1; here `margin` of
  `triplet`) and for the weight of TDPO2's KL term (Tables B12 and B13; here `alpha` of `tdpo`), never as the same
  number; CPO and TPO use it for the factor of a likelihood. The paper's lambda is `mix` of `hybrid`, its gamma
  `coefficient` of `triplet`.
- **TPO** is Triple Preference Optimization (arXiv:2405.16681), not tree or thought preference optimisation, and not the
  token preference optimisation of arXiv:2412.14487, which adds to log-probs how much an image moves them; `influence`
  asks that of the prompt, as a weight. What TPO calls reference is a gold response, a column `gold` of the data, and
  not a model.
- **alpha-DPO, AlphaPO, APO, AOT** are four. `alpha_dpo` (arXiv:2410.10148) moves SimPO's margin by the gap to the
  reference, `alphapo` (arXiv:2501.03884) bends SimPO's reward, `apo` is Anchored Preference Optimization, `aot`
  Alignment via Optimal Transport of margins, which has nothing to do with OTPO, weighting `transport`.
- **beta-DPO** (`beta_dpo`) changes beta from step to step and leaves pairs out, **epsilon-DPO** (`epsilon_dpo`) changes
  it from pair to pair; `beta` of any other loss is a constant. Both keep state in checkpoints.
- **R-DPO** (`r_dpo`) takes off the length; `robust` is robust DPO, for noisy labels; **RPO** is DPO with a likelihood,
  a recipe; **RePO** (`repo`) is SimPO with a hinge.
- **D2PO, DDPO, DPOP, DiscoPOP**: weighting `decay`, weighting `diff`, and the losses `dpop` and `discopop`. **LD-DPO**
  and **SamPO** are weighting `shared_length`.

## Numbers of the TI-DPO paper that are not comparable

- Table 1, CPO: another method than our `cpo`, see above.
- Table 1, cDPO: its models are made from sampled solutions that were checked; our recipe makes them from the data's
  responses.
- Table 1, GRPO and Logic-RL: the paper gives no settings; our recipes have those of the methods' own papers.
- Table B12: the row of alpha 0.3 equals Table 1, although Table B13 says 0.5.
- Table B10: TI-DPO starts at 0.640, below the loss of the initial policy, which is ln 2 + gamma x margin.
- Table B9: Dist-4 is below Dist-2, which no usual definition gives; compare directions only.
- Fig. 4, Tables B2 to B4: weights that mix 0.7 does not give; see [departures](departures.md).
- The paper names neither its preference data nor learning rate, batch or margin, so no number is reproducible to the
  digit.

[recipes/paper](../recipes/paper/README.md) has the published numbers with the recipe of each row and the other
inconsistencies; [departures](departures.md) has TI-DPO's departures, [metrics](metrics.md) what a run writes down,
[rewards](rewards.md) what sampled responses are scored by.

## How to read the tables

- `lp` and `lr` are log-probs of policy and reference, `b`, `c`, `d` log-ratios `lp - lr` of the chosen response, the
  rejected one and the anchor, `w` token weights, `T` response tokens, EOS included. A step's loss is the mean over
  its examples; likelihoods are means over its tokens.
- On-policy, `A` is the advantage, `l` the log-ratio to the policy that sampled, `sg()` a constant for the gradient, and
  a step's loss is averaged as `average` says.
- Of the losses `phi`, `g` and the like are functions that the same formula gives; `h` is the margin
  `sum_t w_t b_t - sum_t w_t c_t`, `S_w` and `S_l` its two sums, `m` what the formula says. `z` are logits, `k` a KL
  at a token, `H` an entropy.
- *The whole step's batch*: what such a component decides of it (a running mean, a quantile, who is left out) hangs on
  the optimizer step and not on micro-batches or processes, is kept in checkpoints, and costs a forward pass more. `M`
  and `s` are a running mean and deviation.
- Defaults: not shown are a loss's `coefficient` 1.0 and `pair_weighted` true where a pair weighting can act, and a
  weighting's `rescale` mean1, `scope` response and `clip` null, and what samplers share.
- Verified: *worked* are numbers computed outside alignkit, by key, which tests assert to 6 decimals. *gradcheck* is a
  loss whose derivatives match finite differences, and which padding, order and other rows leave alone
  (`tests/losses/test_relations.py`; its token weights are random). *TRL* is loss and rewards of one step as TRL 1.16
  gives them, within 1e-4, on 20 real pairs (`tests/peer`); *20 steps* is the loss at each of 20 optimizer steps. Of
  `policy_gradient` it is, on 20 responses and with models in float64, the loss within 1e-6, advantages within 2e-6 and
  the gradient within 1e-5 of its largest entry, with ratios beyond the clip but for a first update.
- Of all rows: each weighting with each loss and trainer, and each pair weighting with each loss, trains two steps or
  is refused with a sentence (`tests/test_matrix.py`); each recipe is run for two steps (`tests/test_recipes.py`);
  what every weighting promises is in `tests/weighting/test_base.py`.
- **Unverified** is what we could not confirm from a source: treat it as our choice.
"""

TITLES = {
    "method": "Methods of several parts",
    "loss": "Losses",
    "weighting": "Token weightings",
    "pair_weighting": "Pair weightings",
    "trainer": "Trainers",
    "advantage": "Advantages",
    "sampler": "Samplers of groups",
    "anchor": "Anchors of the triplet",
    "contrast": "Contrasts of `tis` and `contrastive`",
}
COLUMNS = ("method", "formula", "paper", "recipe", "needs", "defaults", "verified against", "where we depart, and why")
LEGEND = (
    *("b, c log-ratios to the reference", "b log-ratios to the reference", "lp, lr log-probs of policy and reference"),
    *("lp log-probs of the policy", "w token weights", "T response tokens"),
    "b, c, d log-ratios of chosen, rejected, anchor",
    *("A advantage", "l log-ratio to the policy that sampled", "sg() a constant for the gradient"),
)
"""Explanations at the end of a formula that the page gives once."""

BASES: dict[str, type[Component]] = {"loss": Loss, "weighting": TokenWeighting, "sampler": Sampler}


def page() -> str:
    """The whole page."""
    return "\n".join([linked(HEAD), *(table(kind) for kind in TITLES)])


def table(kind: str) -> str:
    rows = [method_row(*item) for item in FACTS[kind].items()] if kind == "method" else component_rows(kind)
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join([f"## {TITLES[kind]}\n", *(f"| {' | '.join(line)} |" for line in lines), ""])


def built_in(kind: str) -> list[str]:
    """Names in the order of the registry's table of built-in components; plugins are not here."""
    registry = KINDS[kind]
    return [name for name in registry.names() if registry.owner(name).startswith("alignkit.")]


def component_rows(kind: str) -> Iterator[list[str]]:
    """A row per built-in component, in the order of methods.yaml.

    Raises:
        ValueError: methods.yaml and the registry do not have the same names, or a recipe does not use the component.
    """
    facts = FACTS[kind]
    if odd := set(facts) ^ set(built_in(kind)):
        raise ValueError(f"docs/methods.yaml and the registry of {kind} do not both have {', '.join(sorted(odd))}")
    for name, fact in facts.items():
        for recipe in fact["recipes"]:
            if name not in names_in(read(recipe), kind):
                raise ValueError(f"docs/methods.yaml, {kind} {name}: {recipe}.yaml does not use it")
        cls = KINDS[kind].get(name)
        formula, paper = (docstring_line(cls, key) for key in ("Formula", "Paper"))
        needs = describe.needs_of(KINDS[kind], name) or "nothing"
        yield [
            f"`{name}`",
            code(without_legend(formula).split("; ")) if formula else escaped(summary(cls)),
            linked(escaped(paper or "none")),
            links(fact["recipes"]),
            escaped(needs),
            code(defaults(cls, BASES.get(kind, Component))) or "none",
            proof(fact["proof"]),
            escaped(fact["departures"]),
        ]


def method_row(recipe: str, fact: dict[str, Any]) -> list[str]:
    """The row of a method that is a recipe of several components."""
    of = read(recipe)
    parts: dict[str, Component] = {
        **{"weighting": of.weighting, "pair_weighting": of.pair_weighting, "trainer": of.trainer},
        **({"advantage": of.advantage} if of.advantage else {}),
    }
    shown = [f"{key} {part.name}" for key, part in parts.items() if part.name not in ("uniform", "preference")]
    total = " + ".join(
        loss.name if loss.coefficient == 1 else f"{loss.coefficient:g} * {loss.name}" for loss in of.losses
    )
    settings = [setting for part in (*parts.values(), *of.losses) for setting in given(part)]
    return [
        fact["title"],
        code([*shown, f"loss {total}"]),
        linked(escaped(fact["paper"])),
        links([recipe]),
        escaped(", ".join(describe.needed(of.needs())) or "nothing"),
        "in the recipe: " + code(settings),
        proof(fact["proof"]),
        escaped(fact["departures"]),
    ]


# --- facts of components and recipes ---


def read(recipe: str) -> Recipe:
    """The recipe of this path below recipes/, without .yaml."""
    return load_recipe(DOCS.parent / "recipes" / f"{recipe}.yaml").recipe


def names_in(part: Component | Recipe, kind: str) -> set[str]:
    """Names of the components of a kind in a recipe, those inside other components included."""
    found = {part.name} if isinstance(part, Component) and isinstance(part, KINDS[kind].base) else set()
    for value in (getattr(part, key) for key in type(part).model_fields):
        for one in value if isinstance(value, tuple) else (value,):
            found |= names_in(one, kind) if isinstance(one, Component) else set()
    return found


def docstring_line(cls: type[Component], key: str) -> str:
    """What follows `Formula:` or `Paper:` in a docstring, up to the next such line, as one line."""
    found = re.search(rf"^{key}: (.*?)(?=^\S|\Z)", inspect.getdoc(cls) or "", re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def summary(cls: type[Component]) -> str:
    return (inspect.getdoc(cls) or "").splitlines()[0]


def without_legend(formula: str) -> str:
    """The formula without the explanations at its end that the page gives once."""
    ends = [f"{mark} {words}" for words in LEGEND for mark in ",;"]
    while end := next((end for end in ends if formula.endswith(end)), None):
        formula = formula.removesuffix(end)
    return formula


def defaults(cls: type[Component], base: type[Component]) -> Iterator[str]:
    """`key: default` of each parameter; of those of the base class only where the default is another one."""
    for key, field in cls.model_fields.items():
        inherited = base.model_fields.get(key)
        same = inherited is not None and inherited.default == field.default
        if field.is_required():
            yield f"{key}: required"
        elif not same and not (key == "pair_weighted" and field.default is True):
            yield f"{key}: {value_of(field.get_default(call_default_factory=True))}"


def given(part: Component) -> Iterator[str]:
    """`name.key: value` of what a recipe sets."""
    for key in sorted(part.model_fields_set - {"name"}, key=list(type(part).model_fields).index):
        value = getattr(part, key)
        yield f"{part.name}.{key}: {value_of(value)}"
        yield from given(value) if isinstance(value, Component) else ()


def value_of(value: object) -> str:
    """A parameter's value; of a component, its name; of a section, what was set, or all of it."""
    if isinstance(value, Component):
        return value.name
    if isinstance(value, Section):
        return scalar(value.model_dump(exclude_unset=True) or value.model_dump())
    if isinstance(value, tuple):
        return scalar([item.name if isinstance(item, Component) else item for item in value])
    return scalar(value)


# --- Markdown ---


def escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(parts: Iterable[str]) -> str:
    """Code spans, one a line; backticks inside go."""
    return "<br>".join(f"`{escaped(part).replace('`', '')}`" for part in parts)


def linked(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def links(recipes: list[str]) -> str:
    shown = (f"[{recipe.removeprefix('methods/')}](../recipes/{recipe}.yaml)" for recipe in recipes)
    return "<br>".join(shown) or "none"


def proof(proof: dict[str, list[str]]) -> str:
    titles = {"worked": "worked", "gradcheck": "gradcheck", "trl": "TRL", "trl_steps": "TRL, 20 steps"}
    parts = [f"{titles[key]}: {', '.join(f'`{escaped(one)}`' for one in proof[key])}" for key in titles if key in proof]
    for test in proof.get("tests", ()):
        file, *_, name = test.split("::")
        parts.append(f"[{name.removeprefix('test_')}](../tests/{file})")
    return "<br>".join(parts)


if __name__ == "__main__":
    print(page(), end="")
