"""What ranks hold and send, against hand calculations and published throughputs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mathtune.planning.cluster.layouts import Cluster, Layout, Training, layouts
from mathtune.planning.gpu_specs import GPUS, find_gpu

GB = 10**9
TRAINING = Training(
    weights=40 * GB, gradients=40 * GB, states=80 * GB, others=5 * GB, layers=30, root=0.25,
    parameters=10 * GB, trained=10 * GB, steps=10, micro_batches=30, computing=(50, 60, 80),
)  # fmt: skip


def ways(cluster: Cluster, training: Training = TRAINING) -> dict[str, Layout]:
    return {each.name: each for each in layouts(cluster, training)}


def test_one_machine_has_nothing_to_replicate():
    assert list(ways(Cluster(1, 8, 300e9, None))) == ["DDP", "FSDP2", "ZeRO-3"]
    assert list(ways(Cluster(4, 8, 300e9, 200e9))) == ["DDP", "HSDP", "FSDP2", "ZeRO-3"]


def test_ddp_sends_gradients_once_a_step_and_sharding_everything_in_each_micro_batch():
    found = ways(Cluster(1, 4, 100e9, None))
    assert found["DDP"].sent == 10 * 2 * 40 * GB * 3 / 4
    assert found["FSDP2"].sent == found["ZeRO-3"].sent == 30 * 3 * 40 * GB * 3 / 4


def test_hsdp_shards_in_a_machine_and_sends_the_others_only_its_shard_of_the_gradients():
    found = ways(Cluster(2, 4, 100e9, 50e9))["HSDP"]
    inside, outside = 30 * 3 * 40 * GB * 3 / 4, 30 * 2 * 10 * GB * 1 / 2
    assert (found.sent, found.sent_between_nodes) == (inside + outside, outside)
    # Four GPUs share the network.
    usual = (inside / 100e9 + outside / (50e9 / 4)) / 0.7
    assert found.communicating and found.communicating[1] == pytest.approx(usual)


def test_memory_is_what_a_rank_holds():
    found = ways(Cluster(2, 4, None, None))
    # A quarter outside of layers, three of thirty layers, the gradients of one in two copies.
    whole = 0.25 * 40 * GB + 3 * 0.75 * 40 * GB / 30 + 2 * 0.75 * 40 * GB / 30
    assert found["DDP"].peak == (160 + 40 + 5) * GB
    assert found["FSDP2"].peak == 160 * GB // 8 + whole + 5 * GB
    assert found["HSDP"].peak == 160 * GB // 4 + whole + 5 * GB
    assert found["ZeRO-3"].peak == (20 + 4 + 2 + 5) * GB  # 1e9 live weights, 5e8 gradients


def test_a_ring_is_as_slow_as_its_slowest_part():
    assert Cluster(1, 8, 300e9, None).ring() == 300e9
    assert Cluster(2, 8, 300e9, 200e9).ring() == 200e9
    assert Cluster(2, 8, 100e9, 200e9).ring() == 100e9
    assert Cluster(8, 1, None, 10e9).ring() == 10e9
    assert Cluster(2, 8, 300e9, None).ring() is None
    assert ways(Cluster(2, 8, None, 1e9))["FSDP2"].seconds is None


def test_communication_is_hidden_at_best_and_added_at_worst():
    cluster = Cluster(1, 2, 100e9, None)
    found = ways(cluster, replace(TRAINING, steps=10, computing=(1.0, 2.0, 4.0)))["DDP"]
    assert found.communicating == pytest.approx((4 / 0.85, 4 / 0.7, 4 / 0.5))
    assert found.seconds == pytest.approx((4 / 0.85, 4 / 0.7 + 0.3 * 2, 4 / 0.5 + 4))
    assert ways(cluster, replace(TRAINING, computing=None))["DDP"].seconds is None


def test_every_card_has_a_link_and_nvlink_is_faster_than_pcie():
    assert all(each.link for each in GPUS.values())
    assert find_gpu("A100 80GB").link == 300e9 and find_gpu("A100 80GB").network == 25e9
    assert find_gpu("H100 PCIe").network is None
