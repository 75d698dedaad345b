// Package server answers the HTTP interfaces for embeddings that clients know: OpenAI's, that of Hugging Face's Text Embeddings Inference (TEI), Ollama's, and
// that of Weaviate's text2vec-transformers, each with its own forms of requests, responses and errors. [Server] is an http.Handler; [Server.Serve] runs it with
// timeouts and an orderly end, as "vkbert serve" does.
//
// Requests of all clients share the batches of the library's scheduler. What is not allowed to grow has a limit: requests at work, bytes and texts of a request,
// tokens of a request and of all that wait. See [Options].
package server
