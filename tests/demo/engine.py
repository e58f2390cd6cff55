# SPDX-License-Identifier: Apache-2.0
"""The pretended inference engine: slots, a queue, tokens at a rate, and vLLM's metrics about it."""

import collections
import itertools
import json
import time
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Set

TTFT_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
                7.5, 10.0)
ITL_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
CONTEXT_TOKENS = 8192
BLOCK_TOKENS = 16


class Histogram:
    """A Prometheus histogram."""

    def __init__(self, name: str, buckets: Sequence[float]) -> None:
        self.name = name
        self.bounds = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Counts a value."""
        index = 0
        while index < len(self.bounds) and value > self.bounds[index]:
            index += 1
        self.counts[index] += times
        self.total += value * times

    def lines(self, label: str) -> List[str]:
        """Text exposition of the histogram."""
        out = [f"# TYPE {self.name} histogram"]
        summed = 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts):
            summed += count
            out.append(f'{self.name}_bucket{{le="{bound}",{label}}} {summed}')
        out.append(f"{self.name}_count{{{label}}} {summed}")
        out.append(f"{self.name}_sum{{{label}}} {self.total:.6f}")
        return out


class Engine:
    """Who generates, who waits, and the counts of it."""

    def __init__(self, loop: Any, options: Any) -> None:
        self.loop = loop
        self.model = options.model
        self.slots = options.slots
        self.queue_limit = options.queue
        self.ttft_s = options.ttft_ms / 1000.0
        self.token_rate = options.token_rate
        self.default_tokens = options.tokens
        self.running: Set["Generation"] = set()
        self.waiting: Deque["Generation"] = collections.deque()
        self.ids = itertools.count(1)
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.finished: Dict[str, int] = {"stop": 0, "length": 0, "abort": 0}
        self.rejected = 0
        self.ttft = Histogram("vllm:time_to_first_token_seconds", TTFT_BUCKETS)
        self.itl = Histogram("vllm:inter_token_latency_seconds", ITL_BUCKETS)
        self.e2e = Histogram("vllm:e2e_request_latency_seconds", TTFT_BUCKETS)

    def admit(self, generation: "Generation") -> bool:
        """Starts the generation or queues it; False when the queue is full."""
        if len(self.running) < self.slots:
            self._run(generation)
        elif len(self.waiting) < self.queue_limit:
            self.waiting.append(generation)
        else:
            self.rejected += 1
            return False
        return True

    def _run(self, generation: "Generation") -> None:
        self.running.add(generation)
        generation.run()

    def leave(self, generation: "Generation", why: str) -> None:
        """A generation ended; a waiting one takes its slot."""
        self.finished[why] += 1
        if generation in self.running:
            self.running.remove(generation)
        else:
            self.waiting.remove(generation)
        while self.waiting and len(self.running) < self.slots:
            self._run(self.waiting.popleft())

    def kv_usage(self) -> float:
        """Share of the pretended KV cache that running generations hold."""
        held = sum(g.prompt_tokens + g.sent for g in self.running)
        return min(1.0, held / float(self.slots * CONTEXT_TOKENS))

    def metrics(self) -> List[str]:
        """vLLM's metric lines."""
        label = f'model_name="{self.model}"'
        blocks = self.slots * CONTEXT_TOKENS // BLOCK_TOKENS
        out: List[str] = []
        for kind, name, value in (
            ("gauge", "vllm:num_requests_running", str(len(self.running))),
            ("gauge", "vllm:num_requests_waiting", str(len(self.waiting))),
            ("gauge", "vllm:kv_cache_usage_perc", f"{self.kv_usage():.6f}"),
            ("gauge", "vllm:gpu_cache_usage_perc", f"{self.kv_usage():.6f}"),
            ("counter", "vllm:prompt_tokens_total", str(self.prompt_tokens)),
            ("counter", "vllm:generation_tokens_total", str(self.generated_tokens)),
        ):
            out += [f"# TYPE {name} {kind}", f"{name}{{{label}}} {value}"]
        out.append("# TYPE vllm:request_success_total counter")
        for why, count in self.finished.items():
            out.append(f'vllm:request_success_total{{finished_reason="{why}",{label}}} {count}')
        out.append("# TYPE vllm:cache_config_info gauge")
        out.append(f'vllm:cache_config_info{{block_size="{BLOCK_TOKENS}",'
                   f'num_gpu_blocks="{blocks}"}} 1.0')
        for histogram in (self.ttft, self.itl, self.e2e):
            out += histogram.lines(label)
        return out


class Generation:
    """One completion for one connection, streamed or whole."""

    def __init__(self, engine: Engine, conn: Any, ask: Dict[str, Any], chat: bool) -> None:
        self.engine = engine
        self.conn = conn
        self.chat = chat
        self.streamed = bool(ask.get("stream"))
        self.want_usage = bool((ask.get("stream_options") or {}).get("include_usage"))
        limit = ask.get("max_completion_tokens") or ask.get("max_tokens")
        self.total = limit if limit else engine.default_tokens
        self.reason = "length" if limit else "stop"
        self.prompt_tokens = count_prompt(ask)
        self.ident = f"{'chatcmpl' if chat else 'cmpl'}-{next(engine.ids)}"
        self.created = int(time.time())
        self.sent = 0
        self.begun = engine.loop.time()
        self.first_at = 0.0
        self.timer: Any = None
        self.after: Optional[Callable[[], None]] = None
        engine.prompt_tokens += self.prompt_tokens

    def run(self) -> None:
        """Has a slot: the first token comes after ttft, all of a whole answer at its end."""
        delay = self.engine.ttft_s
        if not self.streamed and self.engine.token_rate > 0:
            delay += (self.total - 1) / self.engine.token_rate
        step = self._stream if self.streamed else self._whole
        if delay <= 0 and not self.streamed:
            self.timer = self.engine.loop.call_soon(step)
        else:
            self.timer = self.engine.loop.call_later(delay, step)

    def abort(self) -> None:
        """The client is gone, or a fault cut it off."""
        if self.timer is not None:
            self.timer.cancel()
        self.engine.leave(self, "abort")

    def _whole(self) -> None:
        self._count(self.total)
        self.engine.leave(self, self.reason)
        self.conn.respond(200, json.dumps(self._whole_answer()).encode())

    def _whole_answer(self) -> Dict[str, Any]:
        text = "".join(token(i) for i in range(self.total))
        choice: Dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": self.reason}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        return {"id": self.ident, "object": "chat.completion" if self.chat else "text_completion",
                "created": self.created, "model": self.engine.model, "choices": [choice],
                "usage": self._usage()}

    def _usage(self) -> Dict[str, int]:
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens + self.sent,
                "completion_tokens": self.sent}

    def _count(self, tokens: int) -> None:
        now = self.engine.loop.time()
        if not self.sent:
            self.first_at = now
            self.engine.ttft.observe(now - self.begun)
        elif self.engine.token_rate > 0:
            self.engine.itl.observe(1.0 / self.engine.token_rate, tokens)
        self.sent += tokens
        self.engine.generated_tokens += tokens
        if self.sent >= self.total:
            self.engine.e2e.observe(now - self.begun)

    def _due(self) -> int:
        """How many tokens should have left by now."""
        rate = self.engine.token_rate
        if rate <= 0:
            return min(self.total, self.sent + 256)
        elapsed = self.engine.loop.time() - self.first_at if self.sent else 0.0
        return min(self.total, max(self.sent + 1, int(elapsed * rate) + 1))

    def _stream(self) -> None:
        """Sends the tokens that are due, then waits for the next or for a slow reader."""
        conn = self.conn
        self.timer = None
        conn.on_resume = None
        cut = conn.app.faults.reset_mid_stream
        due = self._due()
        if cut and due >= cut:
            due = cut
        pieces = [self._event(self._delta(i)) for i in range(self.sent, due)]
        if not self.sent and self.chat:
            pieces.insert(0, self._event(self._choice({"role": "assistant", "content": ""}, None)))
        self._count(due - self.sent)
        conn.send(pieces)
        if cut and self.sent >= cut:
            conn.reset_soon()
        elif self.sent >= self.total:
            self._end()
        elif conn.paused:
            conn.on_resume = self._stream
        elif self.engine.token_rate > 0:
            when = self.first_at + self.sent / self.engine.token_rate
            self.timer = self.engine.loop.call_at(when, self._stream)
        else:
            self.timer = self.engine.loop.call_soon(self._stream)

    def _end(self) -> None:
        last = [self._event(self._choice({"content": ""} if self.chat else "", self.reason))]
        if self.want_usage:
            last.append(self._event(self._frame([], self._usage())))
        last.append(b"data: [DONE]\n\n")
        self.engine.leave(self, self.reason)
        self.conn.send(last)
        self.conn.end_stream()

    def _delta(self, index: int) -> Dict[str, Any]:
        text = token(index)
        return self._choice({"content": text} if self.chat else text, None)

    def _choice(self, content: Any, reason: Optional[str]) -> Dict[str, Any]:
        key = "delta" if self.chat else "text"
        return self._frame([{"index": 0, key: content, "logprobs": None, "finish_reason": reason}])

    def _frame(self, choices: List[Any], usage: Optional[Dict[str, int]] = None) -> Dict[str, Any]:
        frame = {"id": self.ident, "created": self.created, "model": self.engine.model,
                 "object": "chat.completion.chunk" if self.chat else "text_completion",
                 "choices": choices}
        if usage is not None:
            frame["usage"] = usage
        return frame

    @staticmethod
    def _event(frame: Dict[str, Any]) -> bytes:
        return b"data: " + json.dumps(frame, separators=(",", ":")).encode() + b"\n\n"


def token(index: int) -> str:
    """The index-th token of every completion: distinct, so that order can be checked."""
    return f"w{index} "


def count_prompt(ask: Dict[str, Any]) -> int:
    """A rough token count of the prompt: four characters a token."""
    prompt = ask.get("messages", ask.get("prompt", ""))
    if isinstance(prompt, list):
        prompt = " ".join(str(m.get("content", "")) if isinstance(m, dict) else str(m)
                          for m in prompt)
    return 1 + len(str(prompt)) // 4
