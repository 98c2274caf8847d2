"""
Many machines
=============

One more line: ``fit(line, paths)`` in place of ``line.fit(paths)``. Workers read the photographs, run the network, and
send back sums; the line that comes out is an ordinary one. Here the workers are two threads of this process; on a
cluster, ``Client("tcp://scheduler:8786")`` is all that changes. See ``docs/distributed.md``.
"""

from dask.distributed import Client, get_task_stream

from skgad import make_line
from skgad.datasets import load_elpv
from skgad.distributed import fit, score_samples

images, y = load_elpv(kind="mono")
normal, defective = images[y == 1][:240], images[y == -1][:60]
train, held_out = normal[:180], normal[180:]

client = Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0")
line = make_line("tf_efficientnet_lite0", fpr=0.05).set_params(extractor__grid=1)

# %%
# A fit on the cluster, and the scores of new photographs.

with get_task_stream(client) as stream:
    fit(line, train.tolist(), client=client, partition_size=18)
scores = score_samples(line, defective.tolist(), client=client)
labels, p_values = line["detector"].judge_scores(scores)
print("defects found:", (labels == -1).mean())
print("false alarms:", (line.predict(held_out) == -1).mean())

# %%
# The same as on one machine, within rounding: threshold and scores.

alone = make_line("tf_efficientnet_lite0", fpr=0.05).set_params(extractor__grid=1).fit(train)
print("threshold:", line["detector"].offset_, alone["detector"].offset_)
print("largest relative difference of a score:", abs(scores / alone.score_samples(defective) - 1).max())

# %%
# Who worked on what: parts of eighteen photographs go through the network (``summarise``), their sums are merged, and
# each worker scores its own features by the Gaussian of all others (``score_unseen``), without the network.

import matplotlib.pyplot as plt

colors = {"fit_front": "tab:gray", "summarise": "tab:blue", "share": "tab:gray", "score_unseen": "tab:orange"}
spans = [
    (task["worker"], task["key"].split("-")[1], span["start"], span["stop"])
    for task in stream.data
    for span in task["startstops"]
    if span["action"] == "compute" and task["key"].startswith("skgad-")
]
workers, begin = sorted({worker for worker, *_ in spans}), min(start for *_, start, _ in spans)
fig, ax = plt.subplots(figsize=(8, 2.2), layout="constrained")
for worker, name, start, stop in spans:
    ax.barh(workers.index(worker), stop - start, left=start - begin, color=colors.get(name, "tab:green"), edgecolor="w")
for name, color in (("summarise", "tab:blue"), ("score_unseen", "tab:orange")):
    ax.barh(0, 0, color=color, label=name)
ax.set(yticks=range(len(workers)), yticklabels=[f"worker {n}" for n in range(len(workers))], xlabel="seconds")
ax.legend(loc="lower right")
plt.show()
client.close()
