"""The bare matrix products of DPO: linear layers and head on the tokens that must be computed, nothing else.

Tokens: each prompt once, each response. Every linear layer has its forward product and the two of its backward pass
(by its input, by its weights), the head the same three on as many rows as there are response tokens. The products for
weights are what the gradient by the embeddings of the responses adds: one more product by the input in each linear
layer, on response tokens, and the head forward and by its input on the last row of each response. There is no
attention, no norm, no loss and no update, and all results go to memory that is at hand.

The whole of TI-DPO has anchors too, of `longest` tokens for each pair: in the policy as third responses, and forward
products on prompts and anchors twice more, where the policy draws them and where the reference scores them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pricing.job import Job, Row, sizes
from pricing.turns import Turns


def run(job: Job, turns: Turns, *, weights: bool = False, anchors: bool = False) -> None:
    """Makes the products of each batch."""
    torch.manual_seed(0)
    products = Products(job, job.longest if anchors else 0)
    turns.ready()
    for step in range(turns.steps):
        products(job.batch(step), weights)
        turns.done()


class Products:
    """Made once for a job: weights, gradients, and room for the largest batch."""

    def __init__(self, job: Job, anchor: int) -> None:
        shape, self.anchor = job.shape, anchor
        found = [sizes(job.batch(step)) for step in range(len(job.batches))]
        more = anchor * job.pairs
        rooms = Rooms(max(one["prompts"] + one["responses"] for one in found) + more)
        self.layers = [Layer(*pair, rooms) for pair in shape.linear]
        self.head = Layer(shape.width, shape.vocabulary, Rooms(max(one["responses"] for one in found) + more))

    def __call__(self, rows: list[Row], weights: bool) -> None:
        size, drawn = sizes(rows), self.anchor * len(rows)
        scored = size["responses"] + drawn
        tokens = size["prompts"] + scored
        for _ in range(2 if drawn else 0):
            self._forward(size["prompts"] + drawn, drawn)
        self._forward(tokens, scored)
        if weights:
            ends = 2 * len(rows)
            self.head.forward(ends)
            self.head.by_input(ends)
            for layer in self.layers:
                layer.by_input(size["responses"])
        for layer, number in [(self.head, scored), *((layer, tokens) for layer in self.layers)]:
            layer.by_input(number)
            layer.by_weights(number)

    def _forward(self, tokens: int, scored: int) -> None:
        for layer in self.layers:
            layer.forward(tokens)
        self.head.forward(scored)


class Rooms(dict[tuple[str, int], Tensor]):
    """Memory for inputs and results, which layers of equal sizes share."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def __missing__(self, key: tuple[str, int]) -> Tensor:
        self[key] = torch.randn(self.tokens, key[1])
        return self[key]


class Layer:
    """The products of one linear layer."""

    def __init__(self, inputs: int, outputs: int, rooms: Rooms) -> None:
        self.weight_OI = torch.randn(outputs, inputs) * inputs**-0.5
        self.gradient_OI = torch.zeros(outputs, inputs)
        self.x_NI, self.y_NO, self.back_NI = rooms["x", inputs], rooms["y", outputs], rooms["back", inputs]

    def forward(self, tokens: int) -> None:
        """y = x W'"""
        torch.mm(self.x_NI[:tokens], self.weight_OI.T, out=self.y_NO[:tokens])

    def by_input(self, tokens: int) -> None:
        """dx = dy W"""
        torch.mm(self.y_NO[:tokens], self.weight_OI, out=self.back_NI[:tokens])

    def by_weights(self, tokens: int) -> None:
        """dW = dy' x"""
        torch.mm(self.y_NO[:tokens].T, self.x_NI[:tokens], out=self.gradient_OI)
