"""The ollama package for Python against vkbert serve."""

import asyncio

import ollama

from support import KEY, LIMITED_URL, TEXTS, TOO_LARGE, TOO_MANY, URL, TestCase, busy, library


class Client(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = ollama.Client(host=URL, timeout=60)
        cls.addClassCleanup(cls.client.close)
        cls.want = library(TEXTS)

    def test_embed(self):
        got = self.client.embed(model="tiny", input=TEXTS, options={"num_ctx": 512}, keep_alive="5m")
        self.assert_near(self.want, list(got.embeddings))
        self.assertEqual("tiny", got.model)
        self.assertGreater(got.total_duration, 0)
        self.assertGreater(got.prompt_eval_count, len(TEXTS))
        one = self.client.embed(model="tiny:latest", input=TEXTS[0], truncate=True)
        self.assert_near(self.want[:1], list(one.embeddings))

    def test_dimensions(self):
        self.assert_near(library(TEXTS, 7), list(self.client.embed(model="tiny", input=TEXTS, dimensions=7).embeddings))

    def test_embeddings(self):
        self.assert_near(self.want[0], list(self.client.embeddings(model="tiny", prompt=TEXTS[0]).embedding))

    def test_async(self):
        async def embed():
            async with ollama.AsyncClient(host=URL) as client:
                return await client.embed(model="tiny", input=TEXTS)

        self.assert_near(self.want, list(asyncio.run(embed()).embeddings))

    def test_models(self):
        listed = {m.model: m for m in self.client.list().models}
        self.assertEqual({"tiny:latest", "rerank:latest", "classes:latest"}, set(listed))
        self.assertGreater(listed["tiny:latest"].size, 0)
        self.assertEqual("bert", listed["tiny:latest"].details.family)
        self.assertIn("tiny:latest", [m.model for m in self.client.ps().models])
        shown = self.client.show("tiny")
        self.assertEqual(["embedding"], shown.capabilities)
        self.assertEqual(60, shown.modelinfo["bert.embedding_length"])


class Errors(TestCase):
    def check(self, status, call, *args, **wish):
        with self.assertRaises(ollama.ResponseError) as caught:
            call(*args, **wish)
        self.assertEqual(status, caught.exception.status_code, caught.exception)
        self.assertTrue(caught.exception.error)
        self.assertNotIn("{", caught.exception.error[:1], "the text of the error, not its JSON")

    def test_requests(self):
        with ollama.Client(host=URL) as client:
            self.check(404, client.embed, model="none", input="a")
            self.check(404, client.embeddings, model="none", prompt="a")
            self.check(404, client.show, "none")
            self.check(400, client.embed, model="rerank", input="a")
            self.check(400, client.embed, model="tiny", input=TEXTS, truncate=False)
            self.check(422, client.embed, model="tiny", input="a", dimensions=61)
            self.check(422, client.embed, model="tiny", input="a", dimensions=-1)
            self.check(400, client.generate, model="tiny", prompt="a")
            self.check(400, client.chat, model="tiny", messages=[{"role": "user", "content": "a"}])
            self.assertEqual(1, len(client.embed(model="tiny", input="a").embeddings))

    def test_limits(self):
        with ollama.Client(host=LIMITED_URL) as stranger:
            self.check(401, stranger.embed, model="tiny", input="a")
        with ollama.Client(host=LIMITED_URL, headers={"Authorization": "Bearer " + KEY}) as client:
            self.check(413, client.embed, model="tiny", input=TOO_MANY)
            self.check(413, client.embed, model="tiny", input=TOO_LARGE)
            with busy():
                self.check(429, client.embed, model="tiny", input="a")
            self.assertEqual(1, len(client.embed(model="tiny", input="a").embeddings))
