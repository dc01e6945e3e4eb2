import numpy as np
import torch

from robustfl.training.augment import PAD, Images, draw_crops

RAW = np.random.default_rng(1).integers(0, 256, (20, 3, 32, 30), dtype=np.uint8)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def slow(i, crop):
    """Pad, crop, flip and normalise one image, a step at a time."""
    dy, dx, flip = crop.tolist()
    padded = np.pad(RAW[i], ((0, 0), (PAD, PAD), (PAD, PAD)))
    image = padded[:, dy : dy + 32, dx : dx + 30]
    image = image[:, :, ::-1] if flip else image
    return (image / 255.0 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]


def test_batch_augmentation_is_the_slow_reference():
    crops = draw_crops(seed=0, epoch=3, n=20)
    index = torch.tensor([3, 19, 0, 3, 7])
    batch = Images.of(RAW, MEAN, STD).augmented(index, crops)
    reference = np.stack([slow(i, crops[i]) for i in index.tolist()])
    assert batch.shape == (5, 3, 32, 30) and batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(batch.numpy(), reference, rtol=1e-5, atol=1e-5)


def test_plain_is_the_centre_crop_without_flip():
    centre = torch.tensor([[PAD, PAD, 0]]).expand(20, 3)
    images = Images.of(RAW, MEAN, STD)
    torch.testing.assert_close(images.plain(2, 6), images.augmented(torch.arange(2, 6), centre))


def test_crops_cover_their_range_evenly():
    crops = draw_crops(seed=0, epoch=0, n=9000).numpy()
    for column, values in ((0, 9), (1, 9), (2, 2)):
        counts = np.bincount(crops[:, column], minlength=values)
        assert len(counts) == values
        assert np.abs(counts - 9000 / values).max() < 5 * np.sqrt(9000 / values)


def test_crops_depend_on_seed_epoch_and_index_alone():
    assert torch.equal(draw_crops(1, 2, 50), draw_crops(1, 2, 90)[:50])
    assert not torch.equal(draw_crops(1, 2, 50), draw_crops(1, 3, 50))
    assert not torch.equal(draw_crops(1, 2, 50), draw_crops(2, 2, 50))
