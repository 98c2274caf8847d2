"""Which mask belongs to which image: by their names, whatever the endings and the case."""

from collections import defaultdict

_WORDS = ("_mask", "_label", "_gt", "")  # what follows the image's name; the first counts where there are several


def match_masks(images, files):
    """Return the mask of each image, and the files that are no image's mask.

    The mask of ``0.png`` is ``0_mask.png``, ``0_label.png``, ``0_gt.png`` or ``0.png``, in this order, with any ending
    and in any case. Where two names differ in case only, the one that agrees counts.

    Parameters
    ----------
    images, files : list of Path
        Images of one kind, and what lies in its folder of masks.

    Returns
    -------
    masks : list of Path or None
        One an image.
    others : list of Path
        The rest of `files`, in their order.
    """
    candidates = defaultdict(list)
    for file in files:
        for rank, word in enumerate(_WORDS):
            if file.stem.casefold().endswith(word):
                candidates[file.stem.casefold().removesuffix(word)].append((rank, file))

    def differs(candidate, image):
        rank, file = candidate
        return not file.stem.startswith(image.stem), rank, file.suffix.lower() != image.suffix.lower(), file.name

    masks = [
        min(candidates[image.stem.casefold()], key=lambda one: differs(one, image), default=(0, None))[1]
        for image in images
    ]
    used = set(masks)
    return masks, [file for file in files if file not in used]
