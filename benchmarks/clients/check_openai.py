#!/usr/bin/env python3
"""Asks a gateway with the unmodified openai package: models, chat whole and streamed, completions, vectors, errors.

Usage: check_openai.py http://HOST:PORT CHAT-MODEL EMBEDDING-MODEL      (pip install -r requirements.txt)
"""
import sys

import openai


def main(gateway, chat, vectors):
    client = openai.OpenAI(base_url=f"{gateway}/v1", api_key="none", max_retries=0)
    names = {model.id for model in client.models.list()}
    assert {chat, vectors} <= names, names

    messages = [{"role": "user", "content": "hello"}]
    options = dict(model=chat, messages=messages, seed=5, max_tokens=24)
    raw = client.chat.completions.with_raw_response.create(**options)
    whole = raw.parse()
    receipt = raw.headers["ai-link-receipt"]
    pieces, usage = [], None
    for event in client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}):
        if event.choices:
            pieces.append(event.choices[0].delta.content or "")
        usage = event.usage or usage
    assert "".join(pieces) == whole.choices[0].message.content, (pieces, whole)
    assert usage.total_tokens == whole.usage.total_tokens
    print(f"openai chat: {len(pieces)} pieces are the whole answer; receipt {receipt}")

    text = client.completions.create(model=chat, prompt="hello", max_tokens=3, temperature=0)
    assert text.usage.completion_tokens <= 3 and text.choices[0].finish_reason in ("length", "stop")

    # Once as the package asks for them (base64), once as numbers.
    texts = ["one text", "another"]
    packed = client.embeddings.create(model=vectors, input=texts).data
    plain = client.embeddings.create(model=vectors, input=texts, encoding_format="float").data
    for a, b in zip(packed, plain, strict=True):
        assert max(abs(x - y) for x, y in zip(a.embedding, b.embedding, strict=True)) < 1e-6
    print(f"openai embeddings: {len(packed)} of {len(packed[0].embedding)} numbers")

    for error, call in [
        (openai.NotFoundError, lambda: client.chat.completions.create(model="no-such-model", messages=messages)),
        (openai.BadRequestError, lambda: client.chat.completions.create(model=chat, messages=messages, n=2)),
    ]:
        try:
            call()
        except error as refused:
            print(f"openai errors: {type(refused).__name__} {refused.body['type']}")
        else:
            sys.exit(f"no {error.__name__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
