"""An anchor without generation: each token is drawn from the policy's distribution along the chosen response.

A departure from the paper that costs one more head product instead of decoding. The anchor has the chosen response's
length and its t-th token is conditioned on the chosen tokens before it.
"""

from __future__ import annotations

from alignkit.rollouts.base import TokenAnchor


class TeacherForced(TokenAnchor):
    """Tokens drawn along the chosen response.

    Formula: a_t ~ pi(. | x, y_w,<t), scored as log pi(a_t | x, y_w,<t)
    Paper: none; stands in for arXiv:2505.19653 Alg. 1 line 8
    """
