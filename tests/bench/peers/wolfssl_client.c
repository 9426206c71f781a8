/* A DTLS 1.2 client on wolfSSL with its defaults: sends one datagram and leaves.
   Usage: wolfssl_client HOST PORT ROOT.pem cert CHAIN.pem KEY.pem | psk IDENTITY KEY */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

static const char *identity, *psk;

static unsigned int answer(WOLFSSL *ssl, const char *hint, char *out, unsigned int size, unsigned char *key,
                           unsigned int key_size) {
    (void)ssl, (void)hint;
    if (strlen(identity) >= size || strlen(psk) > key_size) return 0;
    strcpy(out, identity);
    memcpy(key, psk, strlen(psk));
    return strlen(psk);
}

static int complain(const char *what, int code) {
    char text[WOLFSSL_MAX_ERROR_SZ];
    printf("%s: %d %s\n", what, code, wolfSSL_ERR_error_string(code, text));
    return 1;
}

int main(int count, char **words) {
    struct sockaddr_in server = {.sin_family = AF_INET};
    WOLFSSL_CTX *context;
    WOLFSSL *ssl;
    int udp = socket(AF_INET, SOCK_DGRAM, 0), result;

    if (count != 7) return 2;
    server.sin_port = htons(atoi(words[2]));
    inet_pton(AF_INET, words[1], &server.sin_addr);
    wolfSSL_Init();
    context = wolfSSL_CTX_new(wolfDTLSv1_2_client_method());
    if (wolfSSL_CTX_load_verify_locations(context, words[3], NULL) != SSL_SUCCESS) return 3;
    if (strcmp(words[4], "psk") == 0) {
        identity = words[5], psk = words[6];
        wolfSSL_CTX_set_psk_client_callback(context, answer);
    } else if (wolfSSL_CTX_use_certificate_chain_file(context, words[5]) != SSL_SUCCESS ||
               wolfSSL_CTX_use_PrivateKey_file(context, words[6], SSL_FILETYPE_PEM) != SSL_SUCCESS)
        return 4;
    ssl = wolfSSL_new(context);
    if (connect(udp, (struct sockaddr *)&server, sizeof server) != 0) return 5;
    wolfSSL_dtls_set_peer(ssl, &server, sizeof server);
    wolfSSL_set_fd(ssl, udp);
    result = wolfSSL_connect(ssl);
    if (result != SSL_SUCCESS) return complain("handshake", wolfSSL_get_error(ssl, result));
    printf("connected with %s, %s\n", wolfSSL_get_cipher_name(ssl), wolfSSL_get_curve_name(ssl));
    result = wolfSSL_write(ssl, "hello span\n", 11);
    if (result != 11) return complain("write", wolfSSL_get_error(ssl, result));
    wolfSSL_shutdown(ssl);
    wolfSSL_free(ssl);
    wolfSSL_CTX_free(context);
    close(udp);
    return 0;
}
