"""
Many machines
=============

One more line: ``fit(line, paths)`` in place of ``line.fit(paths)``. Workers read the photographs, run the network, and
send back sums; the line that comes out is an ordinary one. Here the workers are two threads of this process; on a
cluster, ``Client("tcp://scheduler:8786")`` is all that changes. See ``docs/distributed.md``.
"""

from dask.distributed import Client, get_task_stream
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from skgad import make_line
from skgad.datasets import load_elpv
from skgad.distributed import fit, score_samples

images, y = load_elpv(kind="mono")
train, held_out = train_test_split(images[y == 1], train_size=180, test_size=100, random_state=0)
defective = images[y == -1][:60]

client = Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0")
line = make_line("tf_efficientnet_lite0", fpr=0.05).set_params(extractor__levels=[6, 7], extractor__grid=1)

# %%
# A fit on the cluster, and the scores of new photographs.

with get_task_stream(client) as stream:
    fit(line, train.tolist(), client=client, partition_size=15)
scores = score_samples(line, defective.tolist(), client=client)
labels, p_values = line["detector"].judge_scores(scores)
print("defects found:", (labels == -1).mean())
print("false alarms:", (line.predict(held_out) == -1).mean())

# %%
# The same as on one machine, within rounding: threshold and scores.

alone = clone(line).fit(train)
print("threshold:", line["detector"].offset_, alone["detector"].offset_)
print("largest relative difference of a score:", abs(scores / alone.score_samples(defective) - 1).max())

# %%
# Who worked on what. One worker loads the network and looks at the first photograph; then parts of fifteen go through
# it, and sums come back; at the end each worker scores the features that it has kept, each by the Gaussian of all
# others, without the network: that takes milliseconds.

import matplotlib.pyplot as plt

kinds = {
    "fit_front": ("the network is loaded", "tab:gray"),
    "summarise": ("a part goes through the network", "tab:blue"),
    "score_unseen": ("scores by the Gaussian of the others", "tab:orange"),
}
spans = [
    (task["worker"], task["key"].split("-")[1], span["start"], span["stop"])
    for task in stream.data
    for span in task["startstops"]
    if span["action"] == "compute" and task["key"].startswith("skgad-")
]
workers, begin = sorted({worker for worker, *_ in spans}), min(start for *_, start, _ in spans)
fig, ax = plt.subplots(figsize=(9, 2.4), layout="constrained")
for worker, name, start, stop in spans:
    if name in kinds:
        ax.barh(workers.index(worker), stop - start, left=start - begin, color=kinds[name][1], height=0.7)
for label, color in kinds.values():
    ax.barh(0, 0, color=color, label=label)
ax.set(yticks=range(len(workers)), yticklabels=[f"worker {n}" for n in range(len(workers))], xlabel="seconds")
fig.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")
plt.show()
client.close()
