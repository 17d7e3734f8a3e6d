"""CIFAR-100: CIFAR-10's format with 100 fine classes (Krizhevsky 2009)."""

from typing import Any

from strided.data.sets.cifar10 import CIFAR10

_FINE_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


class CIFAR100(CIFAR10):
    """The official Python files under `<root>/cifar-100-python`, else class folders."""

    name = "cifar100"
    folder = "cifar-100-python"
    archive = "cifar-100-python.tar.gz"
    wanted_files = f"{folder}/ (or {archive}, with the network)"
    class_names = tuple(_FINE_CLASSES.split())
    # Over all pixels of the 50,000 training images: .50707516 .48654887 .44091784 and
    # .26733429 .25643846 .27615047; .4867 and .4408, seen elsewhere, differ in the last digit.
    published_mean = (0.5071, 0.4865, 0.4409)
    published_std = (0.2673, 0.2564, 0.2762)

    def torchvision_class(self) -> Any:
        """torchvision's class that reads, checks and downloads the official files."""
        from torchvision import datasets

        return datasets.CIFAR100
