"""A plan in words, for a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.text import Text

from alignkit.data.preview import preview
from alignkit.parallel.config import ParallelConfig
from alignkit.plan.lengths import Lengths
from alignkit.plan.plan import Memory, Plan, Planned, Time
from alignkit.report.banner import NAME_WIDTH, Banner, Batch, banner_line
from alignkit.report.heatmap import BARS, DIGITS
from alignkit.report.start import model_name, show_begun

CUT = ("parameters", "reference", "gradients", "optimizer state")
"""The kinds of tensors that `parallel.strategy: fsdp` cuts into pieces."""

PREVIEWED = "the first training row: the prompt (cyan) is read and masked, what follows | (green, red) is in the loss"


def show(console: Console, planned: Planned) -> None:
    """Prints the plan, and one row as the model will see it."""
    plan, banner = planned.plan, Banner(console)
    show_begun(console, planned.loaded, "none: plan")
    banner.data(plan.data)
    name = model_name(planned.loaded.recipe)
    banner.model(name, parameters=plan.parameters["total"], trainable=plan.parameters["trained"])
    for note in plan.notes:
        banner.note(note)
    parts = ("size", "micro_batch", "micro_batches", "processes", "responses", "tokens")
    batch = Batch(*(plan.batch[key] for key in parts))
    banner.plan(batch, steps=plan.steps, epochs=plan.epochs)
    for name, value in (*_lines(plan), *cut_lines(plan.memory, planned.loaded.recipe.parallel)):
        console.print(banner_line(name, value, console.width), soft_wrap=True)
    levels = DIGITS if console.options.ascii_only else BARS
    for number, line in enumerate(_histograms(plan.lengths, levels)):
        console.print(Text(("" if number else "lengths").ljust(NAME_WIDTH) + line), soft_wrap=True)
    console.print(Text(f"\n{PREVIEWED}"), soft_wrap=True)
    console.print(preview(planned.tables.train[0], planned.tokenizer))


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    tokens = plan.tokens_per_step
    yield (
        "tokens",
        f"a step has about {tokens['prompt']:,.0f} of prompts, masked, and {tokens['response']:,.0f} in the loss",
    )
    yield "layout", f"{plan.layout} rows; reference: {plan.reference or 'none'}"
    yield from _memory(plan.memory, "" if plan.time else "at least ")
    yield "time", _time(plan.time) if plan.time else "not estimated: training could not be rehearsed"
    for reason in plan.left_out:
        yield "", f"not counted: {reason}"


def _memory(memory: Memory, at_least: str) -> Iterator[tuple[str, str]]:
    parts = sorted(memory.parts.items(), key=lambda part: -part[1])
    said = ", ".join(f"{kind} {size_of(size)}" for kind, size in parts)
    yield "memory", f"{at_least}{size_of(memory.peak)} of tensors at the peak, in {memory.during}: {said}"
    if memory.at_most > memory.peak:
        yield "", f"up to {size_of(memory.at_most)} if every sampled anchor is as long as it may become"
    if memory.token_weights:
        yield "", f"token weights add {size_of(memory.token_weights)} to a micro-batch"
    of_stages = defaultdict[str, int](int)
    for stage, peak in memory.stages.items():
        of_stages[_group(stage)] = max(of_stages[_group(stage)], peak)
    yield "", "; ".join(f"{group} {size_of(peak)}" for group, peak in of_stages.items())
    yield "", f"the device has {size_of(memory.device)}; libraries and allocator come on top of tensors"


def cut_lines(memory: Memory, parallel: ParallelConfig) -> Iterator[tuple[str, str]]:
    """What becomes of the peak, which is that of a whole model, where the model is cut into pieces."""
    if parallel.strategy != "fsdp":
        return
    size = sum(memory.parts.get(kind, 0) for kind in CUT)
    pieces = f"{parallel.shard}: {size_of(size // parallel.shard)}" if parallel.shard else "the number of pieces"
    yield (
        "parallel",
        f"planned as one process with the whole model; fsdp divides {', '.join(CUT)} in a step, {size_of(size)} of "
        f"the peak, by {pieces}",
    )


def _time(time: Time) -> str:
    of_stages = defaultdict[str, float](float)
    for stage, seconds in time.stages.items():
        of_stages[_group(stage)] += seconds
    said = ", ".join(f"{group} {span_of(seconds)}" for group, seconds in of_stages.items())
    about = f"{span_of(time.at_least)} to {span_of(time.at_most)}"
    work = time.flops / 1e12
    speed = f"{work:,.{0 if work >= 100 else 2}f} TFLOP; tried just now: {time.speed.flops / 1e9:,.3g} GFLOP/s"
    return f"about {span_of(time.total)} at the speed of the moment ({about}): {said}; {speed}"


def _group(stage: str) -> str:
    return stage.partition(":")[0]


def _histograms(lengths: Mapping[str, Lengths], levels: str) -> Iterator[str]:
    """One line per part: a bar per bin from 1 token to the longest, and quantiles."""
    width = max(map(len, lengths))
    for name, found in lengths.items():
        most, top = max(count for _, count in found.bins), len(levels) - 1
        bars = "".join(levels[round(count / most * top)] if count else " " for _, count in found.bins)
        quantiles = f"p50 {found.p50:,}, p90 {found.p90:,}, p99 {found.p99:,}, max {found.max:,}"
        yield f"{name:<{width}}  [{bars}]  mean {found.mean:,.1f}, {quantiles}"


def size_of(size: int) -> str:
    """Bytes in words: `1.44 GiB`, `77 MiB`."""
    return f"{size / 2**30:.2f} GiB" if size >= 1000 * 2**20 else f"{size / 2**20:.3g} MiB"


def span_of(seconds: float) -> str:
    """Seconds in words: `3.1 h`, `12 min`, `8 s`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"
