"""What the tests of transfer share."""

import pytest
from tests.training.transfer.transferring import train


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`model.weights=` of a run of the same network, with another head."""
    folder = train(tmp_path_factory.mktemp("weights"), "trainer.max_epochs=1", "model.head=linear")
    return f"model.weights={folder / 'checkpoints' / 'best.ckpt'}"
