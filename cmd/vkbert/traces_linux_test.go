package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// stub is a collector that keeps what it is sent.
type stub struct {
	*httptest.Server
	mutex    sync.Mutex
	paths    []string
	keys     []string
	bodies   [][]byte
	spans    []*traces.Span
	resource map[string]string
}

func newStub(t *testing.T) *stub {
	s := &stub{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		var sent collector.ExportTraceServiceRequest
		assert.NoError(t, proto.Unmarshal(body, &sent))
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.paths, s.keys, s.bodies = append(s.paths, r.URL.Path), append(s.keys, r.Header.Get("X-Key")), append(s.bodies, body)
		for _, of := range sent.GetResourceSpans() {
			s.resource = values(of.GetResource().GetAttributes())
			for _, scope := range of.GetScopeSpans() {
				s.spans = append(s.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return s
}

// values are attributes as text.
func values(list []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[a.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		}
	}
	return out
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	data, err := hex.DecodeString(s)
	require.NoError(t, err)
	return string(data)
}

// TestTraces: every request is a span, sent at the latest when the server ends, and no text is in it.
func TestTraces(t *testing.T) {
	c := newStub(t)
	s := serveProcess(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL + "/base", "OTEL_EXPORTER_OTLP_HEADERS=x-key=k1", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test"}, "-m", tiny("normalize")+"=tiny")
	const trace = "0af7651916cd43dd8448eb211c80319c"
	assert.Equal(t, 200, s.post(t, "/v1/embeddings", `{"model":"tiny","input":["a private text","dog"]}`, "Traceparent", "00-"+trace+"-b7ad6b7169203331-01"))
	assert.Equal(t, 404, s.post(t, "/v1/embeddings", `{"model":"private-name","input":"a private text"}`))
	s.ends(t)

	c.mutex.Lock()
	defer c.mutex.Unlock()
	for i, path := range c.paths {
		assert.Equal(t, "/base/v1/traces k1", path+" "+c.keys[i])
	}
	for _, body := range c.bodies {
		assert.False(t, bytes.Contains(body, []byte("private")))
	}
	assert.Equal(t, "vkbert", c.resource["service.name"])
	assert.Equal(t, "test", c.resource["deployment.environment.name"])
	assert.Contains(t, c.resource, "service.version")
	root, failed := map[string]*traces.Span{}, 0
	for _, span := range c.spans {
		if string(span.GetTraceId()) == unhex(t, trace) {
			root[span.GetName()] = span
			continue
		}
		assert.Equal(t, "POST /v1/embeddings", span.GetName())
		assert.Equal(t, "404", values(span.GetAttributes())["http.response.status_code"])
		failed++
	}
	assert.Equal(t, 1, failed)
	require.Len(t, root, 3)
	request := root["POST /v1/embeddings"]
	require.NotNil(t, request)
	assert.Equal(t, traces.Span_SPAN_KIND_SERVER, request.GetKind())
	assert.Equal(t, unhex(t, "b7ad6b7169203331"), string(request.GetParentSpanId()))
	assert.Equal(t, map[string]string{"http.request.method": "POST", "http.route": "/v1/embeddings", "http.response.status_code": "200", "vkbert.model": "tiny", "vkbert.texts": "2",
		"vkbert.tokens": values(request.GetAttributes())["vkbert.tokens"]}, values(request.GetAttributes()))
	for _, name := range []string{"tokenize", "embed"} {
		require.Contains(t, root, name)
		assert.Equal(t, request.GetSpanId(), root[name].GetParentSpanId())
		assert.GreaterOrEqual(t, root[name].GetStartTimeUnixNano(), request.GetStartTimeUnixNano())
		assert.LessOrEqual(t, root[name].GetEndTimeUnixNano(), request.GetEndTimeUnixNano())
	}
}

// TestTracesLost: a collector that is gone, or refuses, concerns neither requests nor the end of the server.
func TestTracesLost(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	refuses := httptest.NewServer(http.NotFoundHandler())
	defer refuses.Close()
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + gone.URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + refuses.URL} {
		s := serveProcess(t, []string{variable}, "-m", tiny("normalize")+"=tiny")
		assert.Equal(t, 200, s.post(t, "/embed", `{"inputs":"a private text"}`))
		s.ends(t)
		assert.Contains(t, s.messages.String(), "traces", "the log tells")
		assert.NotContains(t, s.messages.String(), "private")
	}
}

// TestTracesOff: nothing is made without an endpoint, or where the environment says so.
func TestTracesOff(t *testing.T) {
	for _, c := range [][2]string{{otlpEndpoint, ""}, {telemetryOff, "true"}, {traceExporter, "none"}} {
		t.Run(c[0], func(t *testing.T) {
			t.Setenv(otlpEndpoint, "http://127.0.0.1:4318")
			t.Setenv(c[0], c[1])
			provider, err := tracerProvider(t.Context(), slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			assert.Nil(t, provider)
		})
	}
}

func TestTracesWrong(t *testing.T) {
	for _, c := range []struct{ says, name, value string }{
		{otlpEndpoint, otlpEndpoint, "localhost:4318"},
		{traceEndpoint, traceEndpoint, "http://%zz"},
		{otlpHTTP, otlpProtocol, "grpc"},
		{"otlp or none", traceExporter, "jaeger"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(otlpEndpoint, "http://127.0.0.1:4318")
			t.Setenv(c.name, c.value)
			vkb(t, "", "serve", "-m", tiny("mean"), "--addr", "127.0.0.1:0").bad(t, exitUsage, c.says)
		})
	}
}
