// Command echo tells by HTTP on port 8080 what its pod sees of the network, and sends UDP packets on port 8081 back.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", ":8081")
	if err != nil {
		log.Fatal(err)
	}
	go echo(udp, name)
	http.HandleFunc("GET /name", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
	http.HandleFunc("GET /lookup", func(w http.ResponseWriter, r *http.Request) {
		addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.FormValue("host"))
		answer(w, strings.Join(addresses, " "), err)
	})
	http.HandleFunc("GET /dial", func(w http.ResponseWriter, r *http.Request) {
		conn, err := net.DialTimeout("tcp", r.FormValue("address"), 5*time.Second)
		if err == nil {
			defer conn.Close()
		}
		answer(w, "connected", err)
	})
	go func() { log.Fatal(http.ListenAndServe(":8080", nil)) }()
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
}

func echo(conn net.PacketConn, name string) {
	packet := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(packet)
		if err != nil {
			log.Fatal(err)
		}
		_, _ = conn.WriteTo(append([]byte(name+" "), packet[:n]...), from)
	}
}

func answer(w http.ResponseWriter, text string, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprint(w, text)
}
