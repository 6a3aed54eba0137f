"""Watches of a control plane that miss nothing, or say that they do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sandbox.cluster.client import KubeClient

Object = dict[str, Any]
See = Callable[[str, Object], None]  # what happened (LISTED, ADDED, MODIFIED, DELETED), and to what


class Watches:
    """
    Attributes:
        lock: Held while something is seen.
        lost: What is watched no longer, and why.
    """

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        self._stopped = threading.Event()
        self.lock = threading.Lock()
        self.lost: list[str] = []

    def follow(self, path: str, see: See) -> None:
        """What is there, and from now on each change of it."""
        listed = self._kube.get(path)
        with self.lock:
            for item in listed["items"]:
                see("LISTED", item)
        version = listed["metadata"]["resourceVersion"]
        threading.Thread(target=self._follow, args=(path, version, see), daemon=True).start()

    def stop(self) -> None:
        """Of many tests on one control plane, each would be told of all that the later ones do."""
        self._stopped.set()

    def _follow(self, path: str, version: str, see: See) -> None:
        """Until stopped, or something is wrong; either way nothing is seen from then on."""
        try:
            while True:
                for kind, item in self._kube.watch(path, version, allowWatchBookmarks="true"):
                    if self._stopped.is_set():
                        return
                    version = item["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        with self.lock:
                            see(kind, item)
        except Exception as error:
            self.lost.append(f"{path}: {error!r}")
