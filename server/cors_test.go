package server

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestPreflight: pages of the origins that may call may send what headers they want, and what is no name of a header is not repeated.
func TestPreflight(t *testing.T) {
	s := start(t, Options{CORSOrigins: []string{"https://app.example"}}, model("tiny", "tiny", "normalize"))
	ask := func(origin, headers string) string {
		a := s.do("OPTIONS", "/v1/embeddings", "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", headers)
		assert.Equal(t, 204, a.status)
		return a.header.Get("Access-Control-Allow-Headers")
	}
	const always = "Authorization, Content-Type, X-Request-Id"
	assert.Equal(t, always, ask("https://app.example", ""))
	assert.Equal(t, always+", User-Agent, X-Stainless-Os", ask("https://app.example", "authorization,user-agent, x-stainless-os,user-agent"))
	assert.Equal(t, always, ask("https://app.example", "a b,\r\nx: y,,\x00,é,"+strings.Repeat("(", 9)))
	assert.Less(t, len(ask("https://app.example", strings.Repeat("a,", 1000)+manyNames())), 1000)
	assert.Empty(t, ask("https://evil.example", "x-stainless-os"))
}

func manyNames() string {
	names := []string{}
	for i := range 1000 {
		names = append(names, strings.Repeat("x", 1+i%7)+string(rune('a'+i%26)))
	}
	return strings.Join(names, ",")
}
