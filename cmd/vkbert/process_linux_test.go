package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// process is the command as a process of its own, not started yet.
func process(t *testing.T, args ...string) (cmd *exec.Cmd, messages *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd, messages = exec.CommandContext(t.Context(), self, args...), &bytes.Buffer{}
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Stderr = messages
	return cmd, messages
}

func outcomeOf(cmd *exec.Cmd, messages *bytes.Buffer) outcome {
	return outcome{status: cmd.ProcessState.ExitCode(), err: messages.String()}
}

// TestReaderGone: "vkbert embed … | head -1" ends without a word.
func TestReaderGone(t *testing.T) {
	for _, command := range [][]string{{"embed", "--device", "cpu"}, {"tokenize"}} {
		cmd, messages := process(t, append(command, "-m", tiny("mean"))...)
		cmd.Stdin = endless{}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = io.ReadFull(out, make([]byte, 10))
		require.NoError(t, err)
		out.Close()
		cmd.Wait()
		assert.Equal(t, outcome{status: exitFailed}, outcomeOf(cmd, messages))
	}
}

func TestFullDisk(t *testing.T) {
	for _, format := range []string{"jsonl", "csv", "npy"} {
		for _, target := range []bool{true, false} {
			args := []string{"embed", "-m", tiny("mean"), "--device", "cpu", "--format", format}
			if target {
				args = append(args, "-o", "/dev/full")
			}
			cmd, messages := process(t, args...)
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			require.NoError(t, err)
			cmd.Stdin, cmd.Stdout = strings.NewReader("cat\ndog\n"), full
			cmd.Run()
			full.Close()
			outcomeOf(cmd, messages).bad(t, exitFailed, "no space left on device")
		}
	}
}

// TestClosedStreams: without standard input there are no texts.
func TestClosedStreams(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", `exec "$0" embed -m "$1" --device cpu <&-`, self, tiny("mean"))
	var messages bytes.Buffer
	shell.Env, shell.Stderr = append(os.Environ(), asCommand+"=1"), &messages
	shell.Run()
	outcomeOf(shell, &messages).bad(t, exitFailed, "standard input")
}

// TestInterrupted: Ctrl-C in the middle of a run, and while it waits for input.
func TestInterrupted(t *testing.T) {
	for name, stdin := range map[string]func() (io.Reader, io.Closer){
		"running": func() (io.Reader, io.Closer) { return endless{}, io.NopCloser(nil) },
		"waiting": func() (io.Reader, io.Closer) { return io.Pipe() },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cmd, messages := process(t, "embed", "-m", tiny("mean"), "--device", "cpu", "-o", filepath.Join(dir, "v.npy"), "--format", "npy")
			in, hold := stdin()
			defer hold.Close()
			pipe, err := cmd.StdinPipe()
			require.NoError(t, err)
			go func() {
				io.Copy(pipe, in)
				pipe.Close()
			}()
			require.NoError(t, cmd.Start())
			require.Eventually(t, func() bool { left, _ := os.ReadDir(dir); return len(left) == 1 }, 10*time.Second, 10*time.Millisecond)
			time.Sleep(200 * time.Millisecond)
			start := time.Now()
			require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
			cmd.Wait()
			assert.Less(t, time.Since(start), 3*time.Second)
			outcomeOf(cmd, messages).bad(t, exitFailed, "interrupted")
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

// A file that standard output goes to is written on, not replaced, also by the name of /dev/stdout, and where it has no name any more.
func TestOutputIsStandardOutput(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "stdout")
	require.NoError(t, os.Symlink("/proc/self/fd/1", link))
	for _, removed := range []bool{false, true} {
		file, err := os.Create(filepath.Join(dir, "file"))
		require.NoError(t, err)
		defer file.Close()
		_, err = file.WriteString("before\n")
		require.NoError(t, err)
		if removed {
			require.NoError(t, os.Remove(file.Name()))
		}
		cmd, messages := process(t, "embed", "-m", tiny("mean"), "--device", "cpu", "--format", "csv", "-o", link, "cat")
		cmd.Stdout = file
		require.NoError(t, cmd.Run(), messages)
		_, err = file.WriteString("after\n")
		require.NoError(t, err)
		_, err = file.Seek(0, io.SeekStart)
		require.NoError(t, err)
		data, err := io.ReadAll(file)
		require.NoError(t, err)
		assert.Regexp(t, `(?s)\Abefore\n.+\nafter\n\z`, string(data))
		_, err = os.Readlink(link)
		require.NoError(t, err, "the link stays one")
	}
}
