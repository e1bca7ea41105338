"""Groups from a vLLM server: the right weights, requests and log-probs, and one line for whatever goes wrong.

No vLLM takes part: the stand-in speaks its API with a tiny model.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from engine_toy import CLOSE, EOS, VOCABULARY, full_logp, llama, move, policy, with_lora
from pydantic import ValidationError
from vllm_stand_in import StandIn, serving

from alignkit.errors import RunFolderError, ServerError
from alignkit.recipe.load import load_recipe
from alignkit.rollouts.vllm import VLLM
from alignkit.run import run

PROMPTS = [np.array([3, 1, 4], np.int32), np.array([1, 5], np.int32)]
SEEDS = [[11, 2**63 - 1, 13], [21, 22, 23]]


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Started with other weights than those in training."""
    with serving(llama(seed=9)) as stand_in:
        yield stand_in


@pytest.fixture
def sampler(server: StandIn, tmp_path: Path) -> VLLM:
    return VLLM(url=server.url, weights=str(tmp_path), responses=3, max_new_tokens=12, temperature=0.7)


def plain(drawn: list) -> list[list[tuple[list[int], list[float]]]]:
    return [[(one.ids.tolist(), one.logp_T.tolist()) for one in group] for group in drawn]


def agree(drawn: list, model, temperature: float = 0.7) -> None:
    """The log-probs are those of `model` at the temperature."""
    for prompt, group in zip(PROMPTS, drawn, strict=True):
        for one in group:
            logp_TV = (full_logp(model, prompt, one.ids) / temperature).log_softmax(-1)
            wanted_T = logp_TV.gather(-1, torch.from_numpy(one.ids).long()[:, None]).squeeze(-1)
            torch.testing.assert_close(torch.from_numpy(one.logp_T), wanted_T, **CLOSE)


def draw(sampler: VLLM, of, step: int = 0, prompts=PROMPTS, seeds=SEEDS) -> list:
    sampler.begin(of, step)
    return sampler.sample(prompts, seeds, of, step)


def told(sampler: VLLM, url: str) -> str:
    """What a failing drawing says, without the part that names the server."""
    with pytest.raises(ServerError) as caught:
        draw(sampler, policy(llama()))
    message = str(caught.value)
    assert message.startswith(f"sampler.url: {url}: ") and message.isprintable()
    return message.removeprefix(f"sampler.url: {url}: ")


def test_responses_are_drawn_with_the_weights_in_training(sampler, tmp_path):
    trained = policy(llama())
    drawn = draw(sampler, trained)
    assert [len(group) for group in drawn] == [3, 3]
    agree(drawn, trained.model)
    for one in [one for group in drawn for one in group]:
        assert one.ids.dtype == np.int32 and one.logp_T.dtype == np.float32
        assert EOS not in one.ids[:-1] and (one.ids[-1] == EOS or len(one.ids) == 12)
    ends = {int(one.ids[-1]) == EOS for group in drawn for one in group}
    assert ends == {True, False}
    assert list(tmp_path.iterdir()) == []  # what the server has loaded is of no use


def test_a_response_depends_on_its_own_prompt_and_seed(sampler):
    trained = policy(llama())
    drawn = plain(draw(sampler, trained))
    turned = plain(sampler.sample(PROMPTS[::-1], [own[::-1] for own in SEEDS[::-1]], trained, 0))
    assert turned == [group[::-1] for group in drawn[::-1]]
    assert plain(sampler.sample(PROMPTS[1:], [[22]], trained, 0)) == [[drawn[1][1]]]
    assert len({str(one) for group in drawn for one in group}) == 6


def test_each_step_has_weights_of_its_own(sampler, server):
    trained = policy(llama())
    draw(sampler, trained)
    move(trained.model)
    agree(draw(sampler, trained, 1), trained.model)
    sampler.sample(PROMPTS, SEEDS, trained, 1)  # what a refill asks for
    sent = [Path(body["kwargs"]["weights_path"]).name for body in server.bodies("/collective_rpc")]
    assert len(set(sent)) == 2
    salts = [body["cache_salt"] for body in server.bodies("/v1/completions")]
    assert salts == 6 * sent[:1] + 12 * sent[1:]  # cached prompts of other weights stay out


def test_an_adapter_is_sent_as_one_and_the_last_one_forgotten(sampler, server, tmp_path):
    base = llama(seed=9)
    trained = policy(with_lora(base))
    draw(sampler, trained)
    (first,) = server.adapters
    move(trained.model)
    agree(draw(sampler, trained, 1), trained.model)
    loaded = server.bodies("/v1/load_lora_adapter")
    assert [body["lora_name"] for body in loaded] == [first, *server.adapters]
    assert [body["lora_path"] for body in loaded] == [str(tmp_path / body["lora_name"]) for body in loaded]
    assert server.bodies("/v1/unload_lora_adapter") == [{"lora_name": first}]
    assert {body["model"] for body in server.bodies("/v1/completions")[6:]} == set(server.adapters)
    assert server.bodies("/collective_rpc") == [] and list(tmp_path.iterdir()) == []


def test_a_server_that_was_started_again_gets_its_adapter(sampler, server):
    trained = policy(with_lora(llama(seed=9)))
    draw(sampler, trained)
    server.adapters.clear()
    agree(draw(sampler, trained, 1), trained.model)


def test_every_setting_is_given(sampler, server, monkeypatch):
    """What is left out a server takes from the model's own generation settings."""
    monkeypatch.setenv("VLLM_API_KEY", "secret\n")
    draw(sampler, policy(llama()), 0, PROMPTS[:1], [[5]])
    (body,) = server.bodies("/v1/completions")
    assert body.pop("cache_salt").startswith("alignkit-")
    assert body == {
        "model": "tiny",
        "prompt": [3, 1, 4],
        "seed": 5,
        "max_tokens": 12,
        "temperature": 0.7,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "watermarking": False,
        "ignore_eos": True,
        "stop_token_ids": [EOS],
        "logprobs": 0,
        "return_token_ids": True,
    }
    assert {key for _, _, key in server.asked} == {"Bearer secret"}


def test_the_support_may_be_cut(sampler, server):
    cut = sampler.model_copy(update={"top_k": 5, "top_p": 0.9})
    draw(cut, policy(llama()), 0, PROMPTS[:1], [[5]])
    (body,) = server.bodies("/v1/completions")
    assert (body["top_k"], body["top_p"]) == (5, 0.9)


def test_requests_are_under_way_together(sampler, server):
    """None is answered before all have come."""
    all_here, answer = threading.Barrier(6), server.answer

    def together(route, body):
        if route == "/v1/completions":
            all_here.wait(10)
        return answer(route, body)

    server.answer = together
    assert [len(group) for group in draw(sampler, policy(llama()))] == [3, 3]


def test_only_the_main_process_sends(sampler, server, monkeypatch):
    """The others take from it what to ask for."""
    sent = []
    monkeypatch.setattr(accelerate.utils, "broadcast_object_list", sent.extend)
    sampler.begin(policy(llama()), 0)
    assert len(server.bodies("/collective_rpc")) == 1

    def receive(outcome):
        assert outcome == [None]
        outcome[:] = sent

    monkeypatch.setattr(accelerate.utils, "broadcast_object_list", receive)
    monkeypatch.setattr(accelerate.PartialState, "is_main_process", False)
    draw(sampler, policy(llama()), 0, PROMPTS[:1], [[5]])
    assert len(server.bodies("/collective_rpc")) == 1
    assert server.bodies("/v1/completions")[0]["cache_salt"] == sent[0].version


def test_the_check_asks_for_one_token(sampler, server):
    sampler.check()
    sampler.model_copy(update={"model": "tiny"}).check()
    assert [(body["max_tokens"], body["allowed_token_ids"]) for body in server.bodies("/v1/completions")] == [
        (1, [0])
    ] * 2
    assert server.bodies("/collective_rpc") == []


def test_log_probs_of_the_bare_model_are_refused(sampler, server):
    server.mode = "raw_logprobs"
    with pytest.raises(ServerError) as caught:
        sampler.check()
    assert str(caught.value) == (
        f"sampler.url: {server.url}: its log-probs are not those of the distribution that it draws from; "
        "start it with --logprobs-mode processed_logprobs"
    )


def test_another_model_is_refused(sampler, server):
    server.adapters["alignkit-old"] = None
    with pytest.raises(ServerError) as caught:
        sampler.model_copy(update={"model": "large\n"}).check()
    assert str(caught.value) == f"sampler.model: the server at {server.url} serves 'tiny', not 'large\\n'"
    server.answers["/v1/models"] = (200, b'{"data": []}')
    with pytest.raises(ServerError) as caught:
        sampler.check()
    assert str(caught.value) == f"sampler.url: {server.url}: it serves no model"


def test_no_server(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ServerError) as caught:
            VLLM(url=url).check()
    assert str(caught.value) == (
        f"sampler.url: {url}: GET /v1/models cannot be asked: Connection refused; "
        "start it with: vllm serve MODEL --logprobs-mode processed_logprobs"
    )
    assert caught.value.exit_code == 2


def test_a_name_that_no_machine_can_have():
    with pytest.raises(ServerError, match=r"^sampler\.url: http://a\.\.b:80: GET /v1/models cannot be asked: .*idna"):
        VLLM(url="http://a..b:80").check()


@pytest.mark.parametrize(
    "url", ["localhost:8000", "file:///etc", "http://me:key@host", "http://host/v1", "http://[::g]", "http://a b", ""]
)
def test_what_is_no_url_of_a_server(url):
    with pytest.raises(
        ValidationError, match=r"url\n  must be http:// or https:// and a host, such as http://localhost:8000 \["
    ):
        VLLM(url=url)


def test_a_server_that_does_not_answer(sampler, server):
    server.stall = threading.Event()
    hasty = sampler.model_copy(update={"timeout": 0.2})
    try:
        assert told(hasty, server.url) == (
            "POST /v1/completions is not answered within 0.2 s (sampler.timeout); "
            "start it with: vllm serve MODEL --logprobs-mode processed_logprobs"
        )
    finally:
        server.stall.set()


def choice(ids, logps) -> bytes:
    return json.dumps({"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": logps}}]}).encode()


FORM = "what /v1/completions answers is not what vLLM 0.30 to 0.33 answer: "


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (
            400,
            b'{"error": {"message": "prompt of 9 tokens\\n\\u001b[2J is too long", "code": 400}}',
            r"POST /v1/completions is refused with 400: 'prompt of 9 tokens\n\e[2J is too long'",
        ),
        (500, b"", "POST /v1/completions is refused with 500: 'Internal Server Error'"),
        (503, b"<h1>busy</h1>", "POST /v1/completions is refused with 503: '<h1>busy</h1>'"),
        (502, b'["\\ud800"]', "POST /v1/completions is refused with 502: '[\"\\ud800\"]'"),
        (200, b"<h1>hello</h1>", f"{FORM}Invalid JSON: expected value at line 1 column 1"),
        (
            200,
            b'{"choices": []}',
            f"{FORM}'choices': List should have at least 1 item after validation, not 0",
        ),
        (200, choice(None, [-1.0]), f"{FORM}'choices.0.token_ids': Input should be a valid array"),
        (200, choice([EOS], None), f"{FORM}'choices.0.logprobs.token_logprobs': Input should be a valid array"),
        (
            200,
            choice([EOS], [None]),
            f"{FORM}'choices.0.logprobs.token_logprobs.0': Input should be a valid number",
        ),
        (200, choice([1, EOS], [-1.0]), "it gives a response of 2 tokens with 1 log-probs"),
        (200, choice([], []), "it gives a response of 0 tokens, where 1 to 12 were asked for"),
        (200, choice([1] * 13, [-1.0] * 13), "it gives a response of 13 tokens, where 1 to 12 were asked for"),
        (
            200,
            choice([VOCABULARY, EOS], [-1.0, -1.0]),
            "it gives a response with token ids 40 to 41, but the model has 41: it serves another model",
        ),
        (200, choice([EOS, 2, EOS], [-1, -1, -1]), "it gives a response that goes on after its end token, 40"),
        (
            200,
            choice([1, 2], [-1, -1]),
            "it gives a response of 2 tokens without the end token, 40, where up to 12 were asked for; "
            "a prompt and that many must fit into its --max-model-len",
        ),
    ],
)
def test_answers_that_cannot_be_used(sampler, server, status, content, message):
    server.answers["/v1/completions"] = (status, content)
    assert told(sampler, server.url) == message


def test_weights_that_a_server_does_not_load(sampler, server, tmp_path):
    server.answers["/collective_rpc"] = (404, b'{"error": {"message": "Not Found"}}')
    assert told(sampler, server.url) == (
        "POST /collective_rpc is refused with 404: 'Not Found'; "
        "the server must see that folder and be started with VLLM_SERVER_DEV_MODE=1"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_that_a_server_does_not_load(sampler, server, tmp_path):
    reason = "LoRA rank 2 is greater than max_lora_rank 1."
    server.answers["/v1/load_lora_adapter"] = (500, json.dumps({"error": {"message": reason}}).encode())
    with pytest.raises(ServerError) as caught:
        draw(sampler, policy(with_lora(llama())))
    assert str(caught.value) == (
        f"sampler.url: {server.url}: POST /v1/load_lora_adapter is refused with 500: '{reason}'; the server must see "
        "that folder and be started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora and a --max-lora-rank of "
        "at least the adapter's rank"
    )
    assert list(tmp_path.iterdir()) == []


def test_weights_that_cannot_be_written(sampler, server, tmp_path):
    (tmp_path / "file").write_text("")
    astray = sampler.model_copy(update={"weights": str(tmp_path / "file")})
    with pytest.raises(RunFolderError, match=r"file/alignkit-\w+: cannot be written: Not a directory$"):
        draw(astray, policy(llama()))
    assert server.bodies("/collective_rpc") == []


GRPO = [
    *("sampler.name=vllm", "sampler.dead_groups=keep"),
    *("sampler.responses=2", "sampler.max_new_tokens=6", "training.steps=2", "training.batch_size=2"),
    *("evaluation.samples=0", "data.world.pairs=8", "data.world.eval_pairs=2"),
]


def test_a_run_sends_its_weights_at_each_step(server, tmp_path):
    recipe = load_recipe("alignkit:methods/grpo.yaml", [*GRPO, f"sampler.url={server.url}"])
    run(recipe, tmp_path / "run", quiet=True)
    routes = Counter(route for route, _, _ in server.asked)
    assert (routes["/collective_rpc"], routes["/v1/completions"]) == (2, 1 + 2 * 2 * 2)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    apart = [json.loads(line)["sampling/logp_difference"] for line in lines]
    assert len(apart) == 2 and max(apart) < 1e-5


def test_a_run_without_a_server_leaves_nothing_behind(tmp_path):
    recipe = load_recipe("alignkit:methods/grpo.yaml", [*GRPO, "sampler.url=http://localhost:1"])
    with pytest.raises(ServerError, match="GET /v1/models cannot be asked: Connection refused; start it with: vllm"):
        run(recipe, tmp_path / "run", quiet=True)
    assert list(tmp_path.iterdir()) == []
