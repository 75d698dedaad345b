"""The openai package for Python against vkbert serve."""

import asyncio
import base64
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import openai

from support import KEY, LIMITED_URL, TEXTS, TOO_LARGE, TOO_MANY, URL, TestCase, busy, library, token_ids


def connect(url=URL, key="any"):
    return openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=60)


class Embeddings(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = connect()
        cls.addClassCleanup(cls.client.close)
        cls.want = library(TEXTS)

    def test_one_text(self):
        got = self.client.embeddings.create(model="tiny", input=TEXTS[0])
        self.assert_near(self.want[0], got.data[0].embedding)  # sent as base64, which the client asks for by itself
        self.assertEqual(("list", "tiny", 1), (got.object, got.model, len(got.data)))
        tokens = len(token_ids(TEXTS[:1])[0])
        self.assertEqual((tokens, tokens), (got.usage.prompt_tokens, got.usage.total_tokens))
        self.assertTrue(got._request_id)

    def test_batch(self):
        got = self.client.embeddings.create(model="tiny", input=TEXTS, user="somebody")
        self.assert_near(self.want, [d.embedding for d in got.data])
        self.assertEqual([(i, "embedding") for i in range(len(TEXTS))], [(d.index, d.object) for d in got.data])

    def test_formats(self):
        numbers = self.client.embeddings.create(model="tiny", input=TEXTS, encoding_format="float")
        self.assert_near(self.want, [d.embedding for d in numbers.data])
        encoded = self.client.embeddings.create(model="tiny", input=TEXTS, encoding_format="base64")
        vectors = [base64.b64decode(d.embedding, validate=True) for d in encoded.data]
        self.assert_near(self.want, [list(struct.unpack(f"<{len(v) // 4}f", v)) for v in vectors])

    def test_token_ids(self):
        ids = token_ids(TEXTS)
        self.assert_near(self.want, [d.embedding for d in self.client.embeddings.create(model="tiny", input=ids).data])
        self.assert_near(self.want[0], self.client.embeddings.create(model="tiny", input=ids[0]).data[0].embedding)

    def test_dimensions(self):
        got = self.client.embeddings.create(model="tiny", input=TEXTS, dimensions=7)
        self.assert_near(library(TEXTS, 7), [d.embedding for d in got.data])

    def test_large_batch(self):
        got = self.client.embeddings.create(model="tiny", input=TEXTS[:2] * 1024)
        self.assert_near(self.want[:2] * 1024, [d.embedding for d in got.data])

    def test_callers(self):
        def embed(i):
            return self.client.embeddings.create(model="tiny", input=TEXTS[i % len(TEXTS)]).data[0].embedding

        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(embed, range(40)))
        self.assert_near(self.want * 8, got)

    def test_async(self):
        async def embed():
            async with openai.AsyncOpenAI(base_url=URL + "/v1", api_key="any", max_retries=0) as client:
                return await asyncio.gather(*(client.embeddings.create(model="tiny", input=text) for text in TEXTS))

        self.assert_near(self.want, [got.data[0].embedding for got in asyncio.run(embed())])

    def test_models(self):
        self.assertEqual(["tiny", "classes", "rerank"], [m.id for m in self.client.models.list()])
        one = self.client.models.retrieve("tiny")
        self.assertEqual(("tiny", "model", "vkbert"), (one.id, one.object, one.owned_by))


class Errors(TestCase):
    def check(self, kind, status, client, code=None, param=None, model="tiny", input="a", **wish):
        with self.assertRaises(kind) as caught:
            client.embeddings.create(model=model, input=input, **wish)
        error = caught.exception
        self.assertEqual((status, code, param), (error.status_code, error.code, error.param), error)
        self.assertTrue(error.type and error.message and error.request_id, error)
        return error

    def test_requests(self):
        with connect() as client:
            self.check(openai.NotFoundError, 404, client, "model_not_found", "model", model="none")
            self.check(openai.BadRequestError, 400, client, param="model", model="rerank")
            self.check(openai.BadRequestError, 400, client, param="input", input=[])
            self.check(openai.BadRequestError, 400, client, param="input", input=["a", ""])
            self.check(openai.BadRequestError, 400, client, input=[10**6])
            self.check(openai.BadRequestError, 400, client, param="encoding_format", encoding_format="hex")
            for dimensions in -1, 0, 61, 10**12:
                self.check(openai.UnprocessableEntityError, 422, client, param="dimensions", dimensions=dimensions)
            with self.assertRaises(openai.NotFoundError):
                client.models.retrieve("none")
            with self.assertRaises(openai.NotFoundError):
                client.completions.create(model="tiny", prompt="a")
            self.assertEqual(1, len(client.embeddings.create(model="tiny", input="a").data))

    def test_key(self):
        with connect(LIMITED_URL, "wrong") as client:
            self.check(openai.AuthenticationError, 401, client, "invalid_api_key")
            with self.assertRaises(openai.AuthenticationError):
                client.models.list()

    def test_limits(self):
        with connect(LIMITED_URL, KEY) as client:
            self.check(openai.APIStatusError, 413, client, input=TOO_MANY)
            self.check(openai.APIStatusError, 413, client, input=TOO_LARGE)
            with busy():
                error = self.check(openai.RateLimitError, 429, client, "rate_limit_exceeded")
                self.assertEqual("1", error.response.headers["retry-after"])
            self.assert_near(library(TEXTS[:4]), [d.embedding for d in client.embeddings.create(model="tiny", input=TEXTS[:4]).data])

    def test_retry(self):
        """The client comes again by itself, after the second that Retry-After says."""
        answered = threading.Event()
        transport = openai.DefaultHttpxClient(event_hooks={"response": [lambda response: answered.set()]})
        with openai.OpenAI(base_url=LIMITED_URL + "/v1", api_key=KEY, max_retries=1, http_client=transport) as client, ThreadPoolExecutor(1) as pool:
            with busy():
                call = pool.submit(client.embeddings.with_raw_response.create, model="tiny", input=TEXTS[0])
                self.assertTrue(answered.wait(60))
            got = call.result()
        self.assertEqual(1, got.retries_taken)
        self.assert_near(library(TEXTS[:1])[0], got.parse().data[0].embedding)
