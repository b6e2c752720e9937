#!/usr/bin/env python3
"""Compares the vectors of a model at level mpc with those of the same model in the clear (level sealed), with the unmodified
openai package.

Usage: check_embeddings.py http://HOST:PORT MODEL SENTENCES.txt [LEAST-COSINE]     (pip install -r requirements.txt)
"""
import sys
import time

import numpy as np
import openai


def main(gateway, model, path, least=0.999):
    sentences = [line.strip() for line in open(path, encoding="utf-8") if line.strip()]
    client = openai.OpenAI(base_url=f"{gateway}/v1", api_key="none", max_retries=0, timeout=1200)

    def vectors(texts, headers=None):
        raw = client.embeddings.with_raw_response.create(model=model, input=texts, extra_headers=headers or {})
        answer = raw.parse()
        level = raw.headers["ai-link-level"]
        jobs = raw.headers["ai-link-receipt"].split(",")
        return np.array([e.embedding for e in answer.data]), level, jobs, answer.usage.total_tokens

    clear, level, _, tokens = vectors(sentences, {"AI-Link-Level": "sealed"})
    assert level == "sealed", level
    # Nothing asked for: the level that protects more.
    start = time.monotonic()
    one, level, jobs, _ = vectors(sentences[:1])
    first = time.monotonic() - start
    assert level == "mpc" and len(jobs) == 1, (level, jobs)
    alone = []
    for sentence in sentences[1:6]:
        start = time.monotonic()
        vectors([sentence])
        alone.append(time.monotonic() - start)
    start = time.monotonic()
    shared, level, jobs, used = vectors(sentences)
    seconds = time.monotonic() - start
    assert level == "mpc" and used == tokens, (level, used, tokens)
    cosine = (clear * shared).sum(1) / np.linalg.norm(clear, axis=1) / np.linalg.norm(shared, axis=1)
    print(f"{model}: {len(sentences)} sentences, {tokens} tokens, vectors of {clear.shape[1]} numbers")
    print(f"  cosine of shared and clear vectors: least {cosine.min():.6f}, mean {cosine.mean():.6f}; "
          f"largest difference of a number {abs(clear - shared).max():.2e}")
    print(f"  one sentence: the first {first:.2f} s, then {np.median(alone):.2f} s (median of {len(alone)}); "
          f"all in one request: {seconds:.1f} s in {len(jobs)} jobs, {seconds / len(sentences):.2f} s a sentence")
    print(f"  receipts: {' '.join(jobs[:2])} ...")
    # Who is nearest to whom stays the same.
    near = lambda v: (v @ v.T - 2 * np.eye(len(v))).argmax(1)
    agree = (near(clear) == near(shared)).sum()
    print(f"  nearest neighbours: {agree} of {len(sentences)} agree")
    assert cosine.min() >= least, f"sentence {cosine.argmin()}: {sentences[cosine.argmin()]}"
    assert (clear[:1] * one).sum() >= least


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(float, sys.argv[4:5]))
