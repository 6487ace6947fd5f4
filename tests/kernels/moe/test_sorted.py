"""Rows sorted by expert: each once, in blocks of one expert, and no more room than it takes."""

import pytest

torch = pytest.importorskip("torch")

from aot_kernels.routing import sort_by_expert  # noqa: E402

pytestmark = pytest.mark.torch


def choices(tokens, topk, experts, kind):
    if kind == "one expert":
        return torch.full((tokens, topk), experts - 1)
    if kind == "elsewhere":
        return torch.randint(-2, experts + 2, (tokens, topk))
    if kind == "nowhere":
        return torch.full((tokens, topk), -1)
    return torch.stack([torch.randperm(experts)[:topk] for _ in range(tokens)])


@pytest.mark.parametrize("kind", ["random", "one expert", "elsewhere", "nowhere"])
@pytest.mark.parametrize("block", [1, 16, 64])
@pytest.mark.parametrize("tokens, topk, experts", [(1, 1, 1), (1, 2, 8), (37, 4, 5), (200, 2, 64)])
def test_every_choice_has_a_row_of_its_expert(tokens, topk, experts, block, kind):
    torch.manual_seed(tokens)
    topk_ids = choices(tokens, topk, experts, kind).int()
    ids, of_block, valid = sort_by_expert(topk_ids, experts, block)
    slots, (end,) = tokens * topk, valid.tolist()
    assert ids.dtype is of_block.dtype is valid.dtype is torch.int32
    assert len(ids) == len(of_block) * block >= end and end % block == 0
    chosen = topk_ids.flatten().tolist()
    expected = []
    for expert in range(experts):
        own = [slot for slot in range(slots) if chosen[slot] == expert]
        own += [slots] * (-len(own) % block)
        expected += own
        first = len(expected) - len(own)
        assert set(of_block[first // block : len(expected) // block].tolist()) <= {expert}
    assert ids[:end].tolist() == expected
    assert (ids[end:] == slots).all() and ((of_block >= 0) & (of_block < experts)).all()


def test_no_tokens():
    ids, of_block, valid = sort_by_expert(torch.empty(0, 2, dtype=torch.int64), 4, 16)
    assert (len(ids), len(of_block), valid.tolist()) == (0, 0, [0])


def test_room_for_the_worst_case_and_no_more():
    """A row for every expert but the last, which has the rest: no choice takes more blocks."""
    topk_ids = torch.tensor([[0], [1], [2], *[[3]] * 14])
    ids, _, valid = sort_by_expert(topk_ids, 4, 16)
    assert valid.item() == 64 and len(ids) == 64
