package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"time"
)

// releaseFiles holds upstream's name of the release archive for each platform that it publishes one for.
var releaseFiles = map[string]string{
	"darwin/amd64":  "libtokenizers.darwin-x86_64.tar.gz",
	"darwin/arm64":  "libtokenizers.darwin-arm64.tar.gz",
	"linux/amd64":   "libtokenizers.linux-amd64.tar.gz",
	"linux/arm64":   "libtokenizers.linux-arm64.tar.gz",
	"linux/ppc64le": "libtokenizers.linux-ppc64le.tar.gz",
	"linux/s390x":   "libtokenizers.linux-s390x.tar.gz",
}

const (
	maxReleaseBytes = 512 << 20 // of the unpacked library, which has about 50 MB
	downloadTime    = 10 * time.Minute
)

// download writes the library of upstream's release to dst. noRust says why it is not built here.
func (b *builder) download(ctx context.Context, noRust error, dst string) error {
	file, ok := releaseFiles[b.platform]
	if !ok {
		return fmt.Errorf("%w, and upstream publishes no library for %s: %s", noRust, b.platform, installRust)
	}
	url := b.releaseBase + "/" + tokenizersVersion + "/" + file
	b.printf("%v: downloading upstream's library, %s", noRust, url)
	sum, err := fetchLibrary(ctx, url, dst)
	if err != nil {
		return fmt.Errorf("%w, and upstream's library could not be had (%w): %s", noRust, err, installRust)
	}
	b.printf("%s: sha256 %s, which is not pinned: upstream publishes none to compare with", file, sum)
	return nil
}

// fetchLibrary streams the tar.gz at url, writes the library in it to dst and returns the sha256 of what was transferred.
func fetchLibrary(ctx context.Context, url, dst string) (sum string, err error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", url, resp.Status)
	}

	hash := sha256.New()
	body := io.TeeReader(resp.Body, hash)
	if err := unpackLibrary(body, dst); err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(body, maxReleaseBytes)); err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

// unpackLibrary writes libtokenizers.a of a tar.gz to dst and reads the archive to its end, so that its checksum is checked.
func unpackLibrary(r io.Reader, dst string) error {
	gz, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	found := false
	for tr := tar.NewReader(gz); ; {
		header, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && found:
			_, err := io.Copy(io.Discard, gz) // up to the checksum, which lies behind the tar's own end
			return err
		case errors.Is(err, io.EOF):
			return fmt.Errorf("holds no %s", archiveName)
		case err != nil:
			return err
		case header.Typeflag != tar.TypeReg || path.Base(header.Name) != archiveName:
			continue
		case header.Size > maxReleaseBytes:
			return fmt.Errorf("%s has %d bytes, want at most %d", archiveName, header.Size, maxReleaseBytes)
		}
		if err := writeFile(dst, tr); err != nil {
			return err
		}
		found = true
	}
}

func writeFile(dst string, r io.Reader) error {
	f, err := os.Create(dst)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
