package main

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// Variables of https://opentelemetry.io/docs/specs/otel/protocol/exporter that are looked at here; the exporter and the SDK read the others of that page and of
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables: headers, certificates, timeouts, sampler, batches, resource.
const (
	traceEndpoint      = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	otlpEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	traceProtocol      = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	otlpProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	traceExporter      = "OTEL_TRACES_EXPORTER"
	telemetryOff       = "OTEL_SDK_DISABLED"
	otlpHTTP           = "http/protobuf"
	flushTimeout       = 5 * time.Second // for the last spans, when the server ends
	defaultServiceName = "vkbert"
)

// tracerProvider exports spans by OTLP over HTTP where the environment says where to; elsewhere it is nil. Shutdown sends what is left. What fails is logged, and
// concerns no request. Package otel's error handler and logger, which are the process's, are set.
func tracerProvider(ctx context.Context, log *slog.Logger) (*trace.TracerProvider, error) {
	variable, endpoint := firstSet(traceEndpoint, otlpEndpoint)
	if endpoint == "" || strings.EqualFold(os.Getenv(telemetryOff), "true") {
		return nil, nil
	}
	switch name := os.Getenv(traceExporter); name {
	case "none":
		return nil, nil
	case "", "otlp":
	default:
		return nil, usagef("%s=%s: want otlp or none", traceExporter, name)
	}
	if from, protocol := firstSet(traceProtocol, otlpProtocol); protocol != "" && protocol != otlpHTTP {
		return nil, usagef("%s=%s: want %s", from, protocol, otlpHTTP)
	}
	// The exporter would go on with its default, localhost.
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme) {
		return nil, usagef("%s: want a URL such as http://localhost:4318", variable)
	}
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", "error", err) }))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(),
		resource.WithAttributes(attribute.String("service.name", defaultServiceName), attribute.String("service.version", version())),
		resource.WithFromEnv()) // last: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	if err != nil {
		return nil, err
	}
	return trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about)), nil
}

// flush ends a tracerProvider.
func flush(p *trace.TracerProvider, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		log.Warn("the last traces were lost", "error", err)
	}
}

// firstSet is the first of these environment variables that is set, with its value.
func firstSet(names ...string) (name, value string) {
	for _, name := range names {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			return name, value
		}
	}
	return "", ""
}
