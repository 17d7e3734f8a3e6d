"""Step: what a user sees when a batch does not fit into the GPU's memory."""

from tests.gpu import trouble
from tests.gpu.trouble import ended
from tests.gpu.visit import Visit, read_results

lines = trouble.lines


def work(visit: Visit) -> None:
    """Ask for ResNet-152 on 1,400 large images at once."""
    words = ["model=resnet152", "data=synthetic", "data.num_images=2100", "data.image_size=448"]
    process = visit.start("run", "train", *words, "data.batch_size=1400", *visit.trainer)
    process.join(max(0, visit.left() - 2))
    text = visit.output("run")
    said = [line[:300] for line in text.splitlines() if "emory" in line][-3:]
    state = read_results(visit.run_folder("run")).get("state")
    row = ended(process.exitcode, 1, text, said or [visit.said("run")])
    visit.keep("out of memory", row | {"state": state})
