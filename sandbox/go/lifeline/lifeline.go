// Package lifeline ends this process when the one that started it is gone.
//
// The launcher keeps the other end of our standard input open and never writes
// to it. However the launcher ends, SIGKILL included, the kernel closes that
// end and we read EOF. Unlike PR_SET_PDEATHSIG this does not depend on which
// thread started us, and it works on every Unix.
package lifeline

import (
	"io"
	"os"
)

// Variable is set to "stdin" by a launcher that wants its children to end with it.
const Variable = "SLICEWISE_SANDBOX_LIFELINE"

// Hold watches standard input in the background, if the launcher asked for it.
func Hold() {
	if os.Getenv(Variable) != "stdin" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		// Nothing to save: every sandbox starts from an empty data folder.
		os.Exit(0)
	}()
}
