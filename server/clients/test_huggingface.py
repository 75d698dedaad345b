"""huggingface_hub's InferenceClient against the routes that Text Embeddings Inference has."""

import asyncio
import json
import math

from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from support import CLASSES, KEY, LIMITED_URL, TEXTS, TOO_LARGE, TOO_MANY, URL, TestCase, busy, library, vkbert


def connect(path="", url=URL, token=None):
    return InferenceClient(model=url + path, token=token, timeout=60)


class Client(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.want = library(TEXTS)

    def test_feature_extraction(self):
        for path in "", "/", "/embed":  # an endpoint's address, or a route's
            client = connect(path)
            got = client.feature_extraction(TEXTS)
            self.assertEqual((len(TEXTS), 60), got.shape)
            self.assert_near(self.want, got.tolist())
            self.assert_near(self.want[:1], client.feature_extraction(TEXTS[0]).tolist())

    def test_parameters(self):
        client = connect("/embed")
        self.assert_near(library(TEXTS, 7), client.feature_extraction(TEXTS, dimensions=7, normalize=True, truncate=True, truncation_direction="right").tolist())
        words = TEXTS[-1].split()
        cut = client.feature_extraction("dog " + TEXTS[-1], truncate=True, truncation_direction="left")
        self.assert_near(library([" ".join(words[-38:])]), cut.tolist())  # 40 tokens with [CLS] and [SEP]

    def test_async(self):
        async def embed():
            async with AsyncInferenceClient(model=URL) as client:
                return await client.feature_extraction(TEXTS)

        self.assert_near(self.want, asyncio.run(embed()).tolist())

    def test_sentence_similarity(self):
        cosines = [sum(x * y for x, y in zip(self.want[0], v)) for v in self.want[1:]]
        for path in "", "/similarity":
            self.assert_near(cosines, connect(path).sentence_similarity(TEXTS[0], TEXTS[1:]))

    def test_text_classification(self):
        rows = json.loads(vkbert("rerank", "-m", CLASSES, "--device", "cpu", "--raw", "--json", "cat", texts=["the dog"]))
        scores = dict(zip(rows[0]["labels"], rows[0]["scores"]))
        total = sum(math.exp(x) for x in scores.values())
        client = connect(path="/predict")
        got = client.text_classification([["cat", "the dog"]])
        self.assertEqual(sorted(scores, key=scores.get, reverse=True), [one.label for one in got])
        for one in got:
            self.assertAlmostEqual(math.exp(scores[one.label]) / total, one.score, delta=1e-6)
        best = client.text_classification("the cat")  # of one text the routes answer one list, and the client takes its first
        self.assertIn(best.label, scores)


class Errors(TestCase):
    def check(self, status, client, text="a", **wish):
        with self.assertRaises(HfHubHTTPError) as caught:
            client.feature_extraction(text, **wish)
        self.assertEqual(status, caught.exception.response.status_code, caught.exception)
        answer = caught.exception.response.json()
        self.assertEqual({"error", "error_type"}, set(answer))
        self.assertIn(answer["error"], str(caught.exception))

    def test_requests(self):
        client = connect("/embed")
        self.check(400, client, [])
        self.check(400, client, "")
        self.check(413, client, TEXTS[-1], truncate=False)
        self.check(422, client, dimensions=61)
        self.check(422, client, dimensions=-1)
        self.check(422, client, truncation_direction="up")
        self.check(404, connect("/none"))
        with self.assertRaises(HfHubHTTPError) as caught:
            connect("/similarity").sentence_similarity("a", [])
        self.assertEqual(400, caught.exception.response.status_code)
        self.assertEqual((1, 60), client.feature_extraction("a").shape)

    def test_limits(self):
        self.check(401, connect(url=LIMITED_URL, token="wrong"))
        client = connect(url=LIMITED_URL, token=KEY)
        self.check(413, client, TOO_MANY)
        self.check(413, client, TOO_LARGE)
        with busy():
            self.check(429, client)
        self.assertEqual((1, 60), client.feature_extraction("a").shape)
