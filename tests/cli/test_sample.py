"""`alignkit sample`: what the trained model says and what it said before, the same for the same seed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from alignkit.models.world import FOLDER as BASE
from alignkit.result import RunResult
from alignkit.use.trained import Trained

FIG = "My fig has salty soil. What should I do?\n"


def lines(out):
    return [json.loads(line) for line in out.splitlines()]


def likeliest(model, tokenizer, prompt, tokens):
    """What transformers itself generates."""
    given = tokenizer(prompt, return_tensors="pt")
    ids = model.generate(**given, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    return tokenizer.decode(ids[0, given["input_ids"].shape[1] :], skip_special_tokens=True)


def test_both_columns_are_what_their_model_finds_likeliest(trained_adapter, said):
    code, out, err = said("sample", trained_adapter, "--reference", "--prompt", FIG, "--max-new-tokens", 12, "--json")
    trained, tokenizer = RunResult(trained_adapter).load_model()
    base = AutoModelForCausalLM.from_pretrained(BASE)
    answers = [likeliest(model, tokenizer, FIG, 12) for model in (trained, base)]
    assert (code, "reference is not" in err) == (0, False)
    assert lines(out) == [{"where": "--prompt 1", "prompt": FIG, "response": answers[0], "reference": answers[1]}]


def test_a_seed_decides_every_draw_and_gives_it_to_both_models(trained_adapter, said):
    drawn = ("sample", trained_adapter, "--prompt", FIG, "-n", 3, "--temperature", 0.8, "--json")
    first, again, other = (said(*drawn, "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == again != other
    assert len({one["response"] for one in lines(first)}) == 3
    shutil.copytree(trained_adapter, "still")
    name = Path("still/final/adapter_model.safetensors")
    save_file({key: torch.zeros_like(value) for key, value in load_file(name).items()}, name)
    both = lines(said("sample", "still", *drawn[2:], "--reference")[1])
    assert [one["response"] for one in both] == [one["reference"] for one in both]


def test_without_prompts_the_first_held_out_ones_of_the_evaluation_are_taken(trained_adapter, said):
    found = lines(said("sample", trained_adapter, "--json", "--max-new-tokens", 4)[1])
    recorded = lines((trained_adapter / "samples.jsonl").read_text())
    first = [(line["where"], line["prompt"]) for line in recorded if line["moment"] == "before"][:3]
    assert [(one["where"], one["prompt"]) for one in found] == first and len(first) == 3


def test_a_chat_is_rendered_as_in_training(trained_chat, said):
    rows = [
        {"prompt": "Is 1 even?"},
        {"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]},
    ]
    Path("asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chat = ("sample", trained_chat, "--json", "--max-new-tokens", 3)
    _, out, err = said(*chat, "--prompt", "Is 0 even?", "--prompts", "asked.jsonl", "--reference")
    assert [(one["where"], one["prompt"]) for one in lines(out)] == [
        ("--prompt 1", "user: Is 0 even?<end>\nassistant: "),
        ("asked.jsonl:1", "user: Is 1 even?<end>\nassistant: "),
        ("asked.jsonl:2", "system: S<end>\nuser: U<end>\nassistant: "),
    ]
    assert "reference is not" not in err
    (ready,) = lines(said(*chat, "--raw", "--prompt", "user: Is 0 even?<end>\nassistant: ")[1])
    assert ready == {key: value for key, value in lines(out)[0].items() if key != "reference"}
    assert lines(said(*chat, "--raw", "--prompt", "Is 0")[1])[0]["prompt"] == "Is 0"
    held_out = lines(said(*chat)[1])
    assert len(held_out) == 2 and all(one["prompt"].startswith("user: Is ") for one in held_out)
    # The folder alone has a template, which is all that is known of it.
    alone = lines(said("sample", trained_chat / "final", *chat[2:], "--prompt", "Is 0 even?")[1])
    assert alone == [ready]


def test_a_text_becomes_turns_as_a_row_of_plain_text_does(trained_chat, said):
    given = ("\nIs 1 even?\n", "Human: Hi\n\nAssistant: Yes.\n\nHuman: No?\n\nAssistant:", "a<end>b")
    chat = ("sample", trained_chat, "--json", "--max-new-tokens", 1)
    out = said(*chat, *(part for text in given for part in ("--prompt", text)))[1]
    assert [one["prompt"] for one in lines(out)] == [
        "user: Is 1 even?<end>\nassistant: ",
        "user: Hi<end>\nassistant: Yes.<end>\nuser: No?<end>\nassistant: ",
        "user: a<end>b<end>\nassistant: ",
    ]


def test_the_end_of_a_turn_ends_a_response(trained_chat, said):
    """The logits are those of the head, made certain of the end of turn: nothing is left of such a response."""
    shutil.copytree(trained_chat / "final", "sure")
    model, tokenizer = RunResult(trained_chat).load_model()
    end = tokenizer.convert_tokens_to_ids("<end>")
    with torch.no_grad():
        model.lm_head = torch.nn.Linear(32, len(tokenizer), bias=False)
        model.config.tie_word_embeddings = False
        model.model.embed_tokens.weight[:] = model.model.embed_tokens.weight[5].clone()
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        model.lm_head.weight[end] = 50 * model.model.norm(model.model.embed_tokens.weight[5])
    model.save_pretrained("sure")
    assert lines(said("sample", "sure", "--prompt", "x", "--json", "--max-new-tokens", 9)[1])[0]["response"] == ""


def test_side_by_side_in_a_terminal_and_nothing_moves_it(trained_adapter, said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    prompt = "What\x1b[2J helps\u202e a fig?\n"
    code, out, _ = said("sample", trained_adapter, "--reference", "--prompt", prompt, "--max-new-tokens", 6)
    shown = out.splitlines()
    assert code == 0 and shown[0] == r"--prompt 1: What\e[2J helps\u202e a fig?"
    assert [cell.strip() for cell in shown[2].strip("│").split("│")] == ["run", "before training"]
    assert all(line.isprintable() and len(line) <= 60 for line in shown)


def test_a_start_that_has_changed_is_told(trained_chat, said):
    shutil.copytree(trained_chat, "run")
    recipe = Path("run/recipe.yaml")
    recipe.write_text(recipe.read_text().replace(str(trained_chat.parent / "model"), str(trained_chat / "final")))
    code, _, err = said("sample", "run", "--reference", "--prompt", "x", "--max-new-tokens", 2)
    assert code == 0
    assert err.splitlines()[-1] == (
        "the reference is not the model that the run started from: its fingerprint is another"
    )


def test_an_adapter_stands_on_its_base_as_it_was_held_in_training(trained_adapter, trained_chat, said, monkeypatch):
    """Beside a reference in another number format columns would differ by rounding too; a whole model is as saved."""
    formats, load = [], Trained.load
    monkeypatch.setattr(Trained, "load", lambda self, dtype="auto": formats.append(dtype) or load(self, dtype))
    for name, run, model in (("a", trained_adapter, {"path": str(BASE), "adapter": {}}), ("b", trained_chat, {})):
        shutil.copytree(run, name)
        recipe = yaml.safe_load((run / "recipe.yaml").read_text())
        recipe["model"] = {"path": str(trained_chat / "final"), **model, "name": "pretrained", "dtype": "bfloat16"}
        Path(name, "recipe.yaml").write_text(yaml.safe_dump(recipe))
        assert said("sample", name, "--prompt", "x", "--max-new-tokens", 1)[0] == 0
    assert formats == ["bfloat16", "auto"]


def test_mistakes(trained_adapter, trained_chat, said):
    Path("rows.jsonl").write_text('{"prompt": "a"}\n{"promt": "b"}\n')
    Path("chat.jsonl").write_text('{"prompt": [{"role": "user", "content": "a"}]}\n')
    Path("none.jsonl").write_text("\n")
    shutil.copytree(trained_adapter, "silent")
    Path("silent/samples.jsonl").unlink()
    shutil.copytree(trained_chat, "strict")
    recipe = Path("strict/recipe.yaml")
    recipe.write_text(recipe.read_text().replace("special_tokens_in_text: as_text", "special_tokens_in_text: error"))
    final = trained_adapter / "final"
    shutil.copytree(final, "alone")
    for line, message in (
        (
            (trained_adapter, "-n", 2),
            "--temperature: 0 leaves nothing to chance, so -n and --top-p need a temperature ",
        ),
        ((trained_adapter, "--temperature", 1, "--top-p", 0), "--top-p: 0 keeps no token; give more than 0\n"),
        ((trained_adapter, "--prompts", "no.jsonl"), "no.jsonl: no such file"),
        ((trained_adapter, "--prompts", "none.jsonl"), "none.jsonl: holds no prompts\n"),
        ((trained_adapter, "--prompts", "rows.jsonl"), "rows.jsonl:2: missing field: 'prompt'; columns of this row: "),
        (
            (trained_adapter, "--prompts", "chat.jsonl"),
            "chat.jsonl:1: 'prompt' holds messages, and this model, which continues plain text, takes text\n",
        ),
        ((trained_chat, "--raw", "--prompts", "chat.jsonl"), "chat.jsonl:1: 'prompt' holds messages, and --raw takes "),
        ((trained_chat, "--prompt", " "), "--prompt 1: empty prompt: 'prompt' holds no text that a user could say\n"),
        (
            ("strict", "--prompt", "a<end>"),
            "--prompt 1: special token in text: 'prompt', message 1 holds '<end>', which the tokenizer reads as a ",
        ),
        (("silent",), "silent/samples.jsonl: holds no prompts of the evaluation; give prompts with --prompt or "),
        (
            ("alone",),
            "alone: a model without a run has no prompts of its own; give prompts with --prompt or --prompts\n",
        ),
        (("alone", "--prompt", "a", "--reference"), "alone: is no run, so --reference cannot know what it started "),
        (("./none", "--prompt", "a"), "folder ./none does not exist; give a folder or a Hub id such as 'owner/name'\n"),
    ):
        code, out, err = said("sample", *line)
        assert (code, out) == (2, "") and err.startswith(message) and err.count("\n") == 1, err


def test_a_model_without_positions_for_that_many_tokens_is_refused(trained_adapter, said, monkeypatch):
    monkeypatch.setattr("alignkit.use.sampling.limits", lambda model: [(40, "has no positions beyond token")])
    code, _, err = said("sample", trained_adapter, "--prompt", "a", "--max-new-tokens", 50)
    assert code == 2
    assert err.splitlines()[-1] == (
        "--prompt 1: 1 + --max-new-tokens 50 are 51 tokens, but the model has no positions beyond token 40"
    )
