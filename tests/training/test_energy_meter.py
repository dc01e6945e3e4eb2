import pytest
import torch

from robustfl.training import energy_meter


def write(zone, joules, most):
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (zone / "max_energy_range_uj").write_text(f"{round(most * 1e6)}\n")


def test_packages_are_added_up_their_parts_are_not_and_a_counter_may_start_again(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(energy_meter, "POWERCAP", tmp_path)
    one, two, core = (tmp_path / f"intel-rapl:{name}" for name in ("0", "1", "0:0"))
    write(one, 10, 100), write(two, 95, 100), write(core, 5, 100)
    meter = energy_meter.meter(torch.device("cpu"))
    write(one, 12.5, 100), write(two, 3, 100), write(core, 9, 100)
    assert meter() == pytest.approx(2.5 + 8)
    assert meter() == 0


def test_no_counter_or_one_that_may_not_be_read_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(energy_meter, "POWERCAP", tmp_path)
    assert energy_meter.meter(torch.device("cpu"))() is None
    write(tmp_path / "intel-rapl:0", 1, 10)
    (tmp_path / "intel-rapl:0/energy_uj").unlink()
    (tmp_path / "intel-rapl:0/energy_uj").mkdir()
    assert energy_meter.meter(torch.device("cpu"))() is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_works_spends_energy():
    device = torch.device("cuda")
    meter = energy_meter.meter(device)
    a = torch.randn(4096, 4096, device=device)
    for _ in range(200):
        a = a @ a / 64
    torch.cuda.synchronize()
    spent = meter()
    assert spent is not None and 0 < spent < 1e5
