// The openai package for JavaScript against vkbert serve. build/clients.sh starts the servers and sets the environment.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { test } from 'node:test'

const { VKBERT, VKBERT_URL, VKBERT_LIMITED_URL, VKBERT_KEY, VKBERT_TINY, VKBERT_NPM } = process.env
const { OpenAI } = createRequire(VKBERT_NPM + '/')('openai')

const texts = ['the cat', 'dog', 'Who made this?', 'Zürich, "quoted"\nand a second line']
const run = (command, ...args) =>
  execFileSync(VKBERT, [command, '-m', VKBERT_TINY, '--input-format', 'jsonl', ...args], { input: texts.map((t) => JSON.stringify(t) + '\n').join('') })
    .toString().trim().split('\n').map((line) => JSON.parse(line))
const want = run('embed', '--device', 'cpu').map((line) => line.embedding)

const client = (url = VKBERT_URL, apiKey = 'any') => new OpenAI({ baseURL: url + '/v1', apiKey, maxRetries: 0, timeout: 60_000 })
const unit = (v) => v.map((x) => x / Math.hypot(...v))
const near = (want, got) => {
  assert.equal(got.length, want.length)
  got.forEach((v, i) => {
    assert.equal(v.length, want[i].length)
    v.forEach((x, j) => assert.ok(Math.abs(x - want[i][j]) <= 1e-6, `${x}, want ${want[i][j]}`))
  })
}
const vectors = async (request, c = client()) => (await c.embeddings.create({ model: 'tiny', ...request })).data.map((d) => d.embedding)

test('texts', async () => {
  near(want, await vectors({ input: texts })) // sent as base64, which the client asks for by itself
  near(want.slice(0, 1), await vectors({ input: texts[0] }))
  near(want, await vectors({ input: texts, encoding_format: 'float' }))
  for (const [i, text] of (await vectors({ input: texts, encoding_format: 'base64' })).entries()) {
    const bytes = Buffer.from(text, 'base64')
    near([want[i]], [want[i].map((_, j) => bytes.readFloatLE(4 * j))])
    assert.equal(bytes.length, 4 * want[i].length)
  }
})

test('token ids', async () => {
  const ids = run('tokenize').map((line) => line.ids)
  near(want, await vectors({ input: ids }))
  near(want.slice(0, 1), await vectors({ input: ids[0] }))
})

test('dimensions', async () => near(want.map((v) => unit(v.slice(0, 7))), await vectors({ input: texts, dimensions: 7 })))

test('many callers', async () => near(texts.concat(texts).map((_, i) => want[i % texts.length]), (await Promise.all(texts.concat(texts).map((input) => vectors({ input })))).flat()))

test('the response', async () => {
  const got = await client().embeddings.create({ model: 'tiny', input: texts })
  assert.deepEqual(got.data.map((d) => [d.object, d.index]), texts.map((_, i) => ['embedding', i]))
  assert.equal(got.object, 'list')
  assert.equal(got.model, 'tiny')
  assert.equal(got.usage.prompt_tokens, run('tokenize').flatMap((line) => line.ids).length)
  assert.equal(got.usage.total_tokens, got.usage.prompt_tokens)
})

test('models', async () => {
  const ids = []
  for await (const m of client().models.list()) ids.push(m.id)
  assert.deepEqual(ids, ['tiny', 'classes', 'rerank'])
  assert.equal((await client().models.retrieve('tiny')).owned_by, 'vkbert')
})

// In a page of another origin the browser asks first whether the client's headers may be sent.
test('a page of another origin', async () => {
  const origin = 'https://app.example'
  let sent
  const spy = (url, init) => {
    sent = [...new Headers(init.headers).keys()]
    return fetch(url, { ...init, headers: [...new Headers(init.headers), ['Origin', origin]] })
  }
  const page = new OpenAI({ baseURL: VKBERT_URL + '/v1', apiKey: 'any', fetch: spy, dangerouslyAllowBrowser: true })
  const { response } = await page.embeddings.create({ model: 'tiny', input: texts }).withResponse()
  assert.equal(response.headers.get('access-control-allow-origin'), origin)
  const preflight = await fetch(VKBERT_URL + '/v1/embeddings', {
    method: 'OPTIONS',
    headers: { Origin: origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': sent.join(',') },
  })
  assert.equal(preflight.status, 204)
  const allowed = preflight.headers.get('access-control-allow-headers').toLowerCase().split(', ')
  assert.deepEqual(sent.filter((name) => !allowed.includes(name)), [])
  assert.ok(sent.some((name) => name.startsWith('x-stainless-')), `${sent}`)
})

const fails = (kind, status, code, param, request, c) =>
  assert.rejects(vectors({ input: 'a', ...request }, c), (e) => {
    assert.ok(e instanceof kind, `${e}`)
    assert.deepEqual([e.status, e.code, e.param], [status, code, param], `${e}`)
    assert.ok(e.type && e.requestID, `${e}`)
    return true
  })

test('errors', async () => {
  await fails(OpenAI.NotFoundError, 404, 'model_not_found', 'model', { model: 'none' })
  await fails(OpenAI.BadRequestError, 400, null, 'model', { model: 'rerank' })
  await fails(OpenAI.BadRequestError, 400, null, 'input', { input: [] })
  await fails(OpenAI.BadRequestError, 400, null, 'input', { input: '' })
  await fails(OpenAI.UnprocessableEntityError, 422, null, 'dimensions', { dimensions: 61 })
  await fails(OpenAI.UnprocessableEntityError, 422, null, 'dimensions', { dimensions: -1 })
  await fails(OpenAI.AuthenticationError, 401, 'invalid_api_key', null, {}, client(VKBERT_LIMITED_URL, 'wrong'))
  near(want, await vectors({ input: texts }))
})

test('limits', async () => {
  const limited = client(VKBERT_LIMITED_URL, VKBERT_KEY)
  await fails(OpenAI.APIError, 413, null, null, { input: Array(5).fill('a') }, limited)
  await fails(OpenAI.APIError, 413, null, null, { input: 'a'.repeat(5000) }, limited)
  const { hostname, port } = new URL(VKBERT_LIMITED_URL)
  const slow = connect(port, hostname) // a request whose body does not end has the one place
  slow.write(`POST /embed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${VKBERT_KEY}\r\nContent-Length: 14\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`)
  const answers = slow[Symbol.asyncIterator]()
  assert.match((await answers.next()).value.toString(), / 100 /)
  await fails(OpenAI.RateLimitError, 429, 'rate_limit_exceeded', null, {}, limited)
  slow.write('{"inputs":"a"}')
  assert.match((await answers.next()).value.toString(), / 200 OK/)
  slow.destroy()
  near(want, await vectors({ input: texts }, limited))
})
